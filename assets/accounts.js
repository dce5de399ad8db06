/* What administrators see: the accounts of the server, and projects made, put away and brought back. */
class Accounts {
  /** @param {Object<string, HTMLElement>} parts @param {{attempt: Function, say: Function, changed: Function}} door */
  constructor(parts, door) {
    this.parts = parts;
    this.door = door;
    this.links = new Invitations(parts["accounts-open"], door, "Open invitations of the server", purposeOf);
    parts["invite-admin"].addEventListener("click", () => door.attempt(() => this.invite(), () => this.readLinks()));
    onSubmit(parts.create, ({ name }) => door.attempt(() => this.create(name), () => door.changed()));
  }

  /** @param {object} me @param {object[]} projects those put away too */
  async read(me, projects) {
    this.me = me;
    const sees = me.sign_in && me.server_admin;
    if (sees) this.drawAccounts(await ask("/api/users"));
    if (sees) await this.readLinks();
    this.parts.accounts.hidden = !sees;
    const mine = projects.filter((one) => me.roles[one.id] === "admin");
    this.parts.projects.hidden = !(me.server_admin || mine.length);
    this.parts.create.hidden = !me.server_admin;
    const rows = mine.map((one) => this.project(one));
    this.parts["projects-list"].replaceChildren(
      rows.length ? table("Projects", ["Name", "Pictures", ""], rows) : make("p", {}, "There is no project yet."),
    );
  }

  readLinks() {
    return this.links.read("/api/users/invitations");
  }

  drawAccounts(users) {
    const rows = users.map((one) => this.account(one));
    this.parts["accounts-list"].replaceChildren(table("Accounts", ["Name", "Since", "State", ""], rows));
  }

  account(one) {
    const state = one.disabled ? "disabled" : one.server_admin ? "administrator" : "active";
    const buttons = make("span", { class: "ppl-buttons" });
    const act = (what, said) => this.act(`/api/users/${one.id}/${what}`, said);
    const enable = () => act("enable", `${one.name} can sign in again.`);
    const disable = () => act("disable", `${one.name} is signed out everywhere and cannot sign in.`);
    const reset = () => this.door.attempt(() => this.reset(one), () => this.readLinks());
    if (one.disabled) buttons.append(pressed("Enable", enable, `Enable ${one.name}`));
    else buttons.append(pressed("Reset link", reset, `Reset link for ${one.name}`));
    if (!one.disabled && one.id !== this.me.id) {
      buttons.append(confirmed("Disable", "Really disable?", disable, `Disable ${one.name}`));
    }
    const you = one.id === this.me.id ? " (you)" : "";
    const cells = [`${one.name}${you}`, day(one.created_at), state].map((text) => make("span", {}, text));
    return [...cells, buttons];
  }

  project(one) {
    const put = one.archived_at !== undefined;
    const words = put ? `${one.name} (archived ${day(one.archived_at)})` : one.name;
    const name = make("span", { class: put ? "ppl-away" : null }, words);
    return [name, make("span", {}, grouped(one.images)), put ? this.back(one) : this.away(one)];
  }

  /** What an archived project offers: its answers as files, coming back, and, after a while, being removed for good. */
  back(one) {
    const place = make("span", { class: "ppl-buttons" });
    const restore = () => this.act(`/api/projects/${one.id}/restore`, `${one.name} is back as it was.`);
    const shown = [exports(one), pressed("Restore", restore, `Restore ${one.name}`)];
    if (this.me.server_admin) shown.push(this.removal(one, place, shown));
    place.replaceChildren(...shown);
    return place;
  }

  removal(one, place, shown) {
    const open = pressed("Remove for good", () => place.replaceChildren(form), `Remove ${one.name} for good`);
    open.disabled = Date.now() < one.removable_from;
    if (open.disabled) open.title = `Possible from ${moment(one.removable_from)} on; until then it can be restored.`;
    const said = `${one.name} is gone for good; the worker removes what was in it.`;
    const form = typedName(one, "Remove it", `Type ${one.name} to remove it for good`, {
      keep: () => place.replaceChildren(...shown),
      send: (name) => this.act(`/api/projects/${one.id}/purge`, said, { name }),
    });
    return open;
  }

  /** Archiving needs the name typed: it takes a project away from everybody in it. */
  away(one) {
    const place = make("span", { class: "ppl-buttons" });
    const open = pressed("Archive", () => place.replaceChildren(form), `Archive ${one.name}`);
    const said = `${one.name} is archived; nothing in it is lost.`;
    const form = typedName(one, "Archive it", `Type ${one.name} to archive it`, {
      keep: () => place.replaceChildren(open),
      send: (name) => this.act(`/api/projects/${one.id}/archive`, said, { name }),
    });
    place.append(open);
    return place;
  }

  act(path, said, body = undefined) {
    return this.door.attempt(async () => {
      await ask(path, { method: "POST", body });
      this.door.say(said);
    }, () => this.door.changed());
  }

  async create(name) {
    const made = await ask("/api/projects", { method: "POST", body: { name } });
    chosenProject.set(made.id);
    this.parts.create.reset();
    this.door.say(`${made.name} is ready. Bring in pictures with the Import tab.`);
  }

  async reset(one) {
    const made = await ask(`/api/users/${one.id}/reset`, { method: "POST" });
    const until = moment(made.expires_at);
    const note = `With it ${one.name} chooses a new password, once, until ${until}. It is not shown again.`;
    showOnce(this.parts["accounts-once"], `Reset link for ${one.name}`, location.origin + made.link, note);
  }

  async invite() {
    const made = await ask("/api/users/invitations", { method: "POST" });
    const until = moment(made.expires_at);
    const what = "Whoever opens it may do everything on this server.";
    const note = `${what} It counts once, until ${until}, and is not shown again.`;
    showOnce(this.parts["accounts-once"], "Invitation for an administrator", location.origin + made.link, note);
  }
}
