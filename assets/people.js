/* The People tab: members, accounts, projects, and one's own password and tokens. */
class You {
  /** @param {Object<string, HTMLElement>} parts @param {{attempt: Function, say: Function, changed: Function}} door */
  constructor(parts, door) {
    this.parts = parts;
    this.door = door;
    onSubmit(parts.password, (values) => door.attempt(() => this.changePassword(values)));
    onSubmit(parts.token, (values) => door.attempt(() => this.makeToken(values), () => this.readTokens()));
  }

  async read(me) {
    if (!me.sign_in) return;
    this.parts.name.textContent = me.name;
    this.parts["server-admin"].textContent = me.server_admin ? ", an administrator of this server" : "";
    this.parts.password.elements.username.value = me.name;
    await this.readTokens();
    this.parts.you.hidden = false;
  }

  async changePassword({ old, new: fresh, again }) {
    if (fresh !== again) return this.door.refuse("The two new passwords differ.");
    const done = await ask("/api/me/password", { method: "POST", body: { old, new: fresh } });
    this.parts.password.reset();
    return this.door.say(done.message);
  }

  async readTokens() {
    const found = await ask("/api/me/tokens");
    const rows = found.map((one) => [
      make("span", {}, one.name),
      make("span", {}, day(one.created_at)),
      make("span", {}, one.expires_at ? day(one.expires_at) : "no end"),
      make("span", {}, one.last_used_at ? moment(one.last_used_at) : "never"),
      confirmed("Revoke", "Really revoke?", () => this.revoke(one), `Revoke ${one.name}`),
    ]);
    const heads = ["Name", "Made", "Valid until", "Last used", ""];
    const list = rows.length ? table("Tokens", heads, rows) : make("p", {}, "You have no token.");
    this.parts["tokens-list"].replaceChildren(list);
  }

  async makeToken({ name, days }) {
    const body = days ? { name, days: Number(days) } : { name };
    const made = await ask("/api/me/tokens", { method: "POST", body });
    this.parts.token.reset();
    const until = made.expires_at ? `until ${moment(made.expires_at)}` : "until it is revoked";
    const note = `It counts ${until} and is not shown again.`;
    showOnce(this.parts["tokens-once"], `Token “${made.name}”`, made.token, note);
  }

  revoke(one) {
    return this.door.attempt(async () => {
      await ask(`/api/me/tokens/${one.id}`, { method: "DELETE" });
      this.door.say(`The token “${one.name}” is revoked.`);
    }, () => this.readTokens());
  }
}

class People {
  /** @param {HTMLElement} root */
  constructor(root) {
    this.parts = {};
    for (const node of root.querySelectorAll("[data-part]")) this.parts[node.dataset.part] = node;
    const door = {
      attempt: (work, after) => this.attempt(work, after),
      say: (text) => this.say(text),
      refuse: (text) => this.refuse(text),
      changed: () => this.read(),
    };
    this.members = new Members(this.parts, door);
    this.accounts = new Accounts(this.parts, door);
    this.you = new You(this.parts, door);
    // Read each time the tab is shown: others may have changed everything meanwhile.
    new IntersectionObserver((seen) => {
      if (seen.at(-1).isIntersecting) this.attempt(() => this.read());
    }).observe(root);
  }

  async read() {
    const [me, all] = await Promise.all([ask("/api/me"), ask("/api/projects?archived=true")]);
    this.parts.alone.hidden = me.sign_in;
    const open = all.filter((one) => one.archived_at === undefined);
    await Promise.all([this.members.read(me, open), this.accounts.read(me, all), this.you.read(me)]);
  }

  /** Do something, then show what is there now; a failure becomes a sentence. */
  async attempt(work, after = () => undefined) {
    this.say("");
    try {
      await work();
    } catch (error) {
      this.told(error);
    }
    try {
      await after();
    } catch (error) {
      this.told(error);
    }
  }

  told(error) {
    if (!(error instanceof Refusal || error instanceof Unreachable)) throw error;
    this.refuse(error.signedOut ? "You are signed out: load the page again and sign in." : error.message);
  }

  say(text) {
    this.parts.said.textContent = text;
    this.refuse("");
  }

  refuse(text) {
    this.parts.alert.textContent = text;
    this.parts.alert.hidden = !text;
  }
}

new People(element.querySelector("#people-surface"));
