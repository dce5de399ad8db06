/* Who is in a project: for its admins with roles and invitations, for everybody else the names. */
class Members {
  /** @param {Object<string, HTMLElement>} parts @param {{attempt: Function, say: Function, changed: Function}} door */
  constructor(parts, door) {
    this.parts = parts;
    this.door = door;
    this.id = null;
    this.links = new Invitations(parts["members-open"], door, "Open invitations", ({ grant }) => grant);
    parts.invite.elements.role.append(...ROLES.map((role) => make("option", { value: role }, role)));
    parts.invite.elements.role.value = "annotator";
    parts.project.addEventListener("change", () => {
      chosenProject.set(Number(parts.project.value));
      parts["members-once"].replaceChildren();
      door.attempt(() => this.open(Number(parts.project.value)));
    });
    onSubmit(parts.invite, ({ role }) => door.attempt(() => this.invite(role), () => door.changed()));
  }

  /** @param {{roles: Object<string, string>, id: number}} me @param {{id: number, name: string}[]} projects */
  async read(me, projects) {
    this.me = me;
    if (!me.sign_in) return;
    const { project } = this.parts;
    project.replaceChildren(...projects.map((one) => make("option", { value: one.id }, one.name)));
    project.closest(".ppl-line").hidden = !projects.length;
    const wanted = projects.find((one) => one.id === chosenProject.get()) || projects[0];
    if (!wanted) this.nothing();
    else await this.open(wanted.id);
    this.parts.members.hidden = false;
  }

  nothing() {
    this.id = null;
    this.parts["members-note"].textContent = this.me.server_admin
      ? "There is no project yet: make one below."
      : "You are in no project yet: ask an admin of one for an invitation.";
    this.parts["members-list"].replaceChildren();
    this.parts.invite.hidden = true;
    this.links.clear();
  }

  async open(id) {
    const found = await ask(`/api/projects/${id}/members`);
    this.id = id;
    this.parts.project.value = String(id);
    const role = this.me.roles[id];
    const admin = role === "admin";
    this.parts.invite.hidden = !admin;
    this.parts["members-note"].textContent = admin
      ? "Administrators of the server are admins of every project and need not be listed."
      : `Your role here: ${role}. Admins of the project change roles and invite people.`;
    const rows = found.map((one) => (admin ? this.row(one) : [make("span", {}, one.name)]));
    const heads = admin ? ["Name", "Role", "Since", ""] : ["Name"];
    const list = rows.length ? table("Members", heads, rows) : make("p", {}, "Nobody is a member yet.");
    this.parts["members-list"].replaceChildren(list);
    if (admin) await this.links.read(`/api/projects/${id}/invitations`);
    else this.links.clear();
  }

  row(one) {
    const role = roleSelect(one.role, `Role of ${one.name}`);
    role.addEventListener("change", () =>
      this.change({ method: "PUT", body: { role: role.value } }, one, `${one.name} is now ${role.value}.`),
    );
    const remove = confirmed(
      "Remove",
      "Really remove?",
      () => this.change({ method: "DELETE" }, one, `${one.name} is no longer in this project; the answers stay.`),
      `Remove ${one.name}`,
    );
    const you = one.user_id === this.me.id ? " (you)" : "";
    return [make("span", {}, `${one.name}${you}`), role, make("span", {}, day(one.created_at)), remove];
  }

  change(how, one, said) {
    return this.door.attempt(async () => {
      await ask(`/api/projects/${this.id}/members/${one.user_id}`, how);
      this.door.say(said);
    }, () => this.door.changed());
  }

  async invite(role) {
    const made = await ask(`/api/projects/${this.id}/invitations`, { method: "POST", body: { role } });
    const until = moment(made.expires_at);
    const note = `For one person, who becomes ${role} of this project. It counts until ${until} and is not shown again.`;
    showOnce(this.parts["members-once"], "Invitation link", location.origin + made.link, note);
  }
}
