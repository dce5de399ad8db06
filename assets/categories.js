/* The list of categories: rename, sort, merge, archive, bring back. Ids never change: answers on their way keep theirs. */
class CategoryList {
  /** @param {HTMLDialogElement} dialog @param {{api: () => ProjectApi, changed: () => Promise<void>}} door */
  constructor(dialog, door) {
    this.dialog = dialog;
    this.door = door;
    this.alert = make("p", { role: "alert", hidden: true });
    this.active = make("ol", { class: "ann-names", "aria-label": "Asked categories" });
    this.archived = make("ul", { class: "ann-names", "aria-label": "Archived categories" });
    this.archivedTitle = make("h3", {}, "Archived: no longer asked, labels kept");
    this.merging = new Merging({
      api: () => door.api(),
      attempt: (work) => this.attempt(work),
      closed: (id) => dialog.querySelector(`[data-what="merge"][data-id="${id}"]`)?.focus(),
    });
    const close = make("button", { type: "button" }, "Close", make("kbd", {}, "Esc"));
    close.addEventListener("click", () => dialog.close());
    dialog.replaceChildren(
      make("h2", {}, "Categories"),
      make("p", {}, "A new name changes only the text. Archiving stops asking; nothing is deleted."),
      this.alert,
      this.merging.node,
      this.active,
      this.archivedTitle,
      this.archived,
      close,
    );
    dialog.addEventListener("click", (event) => this.clicked(event));
    dialog.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && event.target.matches("input")) event.target.blur();
    });
    dialog.addEventListener("change", (event) => {
      const { value, defaultValue, dataset } = event.target;
      if (!dataset.rename || value === defaultValue) return;
      this.attempt(() => this.door.api().renameCategory(Number(dataset.rename), value));
    });
  }

  async open() {
    this.say("");
    this.merging.close();
    await this.read();
    this.dialog.showModal();
  }

  async read() {
    const api = this.door.api();
    const [active, archived] = await Promise.all([api.categories(), api.archivedCategories()]);
    this.ids = active.map((one) => one.id);
    this.named = new Map([...active, ...archived].map((one) => [one.id, one]));
    this.choices = active;
    this.active.replaceChildren(...active.map((one, i) => this.row(one, i)));
    this.archived.replaceChildren(
      ...archived.map((one) =>
        make("li", {}, make("span", {}, one.name), this.mergeButton(one), this.button("restore", one.id, "Restore")),
      ),
    );
    this.archivedTitle.hidden = !archived.length;
  }

  row(one, i) {
    const name = make("input", { value: one.name, "data-rename": one.id, "aria-label": "Name", maxlength: 200 });
    const up = this.button("up", one.id, "↑", `Move ${one.name} up`);
    const down = this.button("down", one.id, "↓", `Move ${one.name} down`);
    up.disabled = i === 0;
    down.disabled = i === this.ids.length - 1;
    return make("li", {}, name, up, down, this.mergeButton(one), this.button("archive", one.id, "Archive"));
  }

  mergeButton(one) {
    return this.button("merge", one.id, "Merge…", `Merge ${one.name} into another category`);
  }

  button(what, id, words, label = null) {
    return make("button", { type: "button", "data-what": what, "data-id": id, "aria-label": label }, words);
  }

  clicked(event) {
    const button = event.target.closest("[data-what]");
    if (!button) return;
    const { what } = button.dataset;
    const id = Number(button.dataset.id);
    const api = this.door.api();
    if (what === "merge") this.merging.open(this.named.get(id), this.choices);
    else if (what === "archive" || what === "restore") this.attempt(() => api.moveCategory(id, what));
    else this.attempt(() => api.orderCategories(this.moved(id, what === "up" ? -1 : 1)));
  }

  /** The order with one category a place further up or down. */
  moved(id, by) {
    const ids = [...this.ids];
    const at = ids.indexOf(id);
    [ids[at], ids[at + by]] = [ids[at + by], ids[at]];
    return ids;
  }

  async attempt(work) {
    this.say("");
    try {
      await work();
    } catch (error) {
      if (!(error instanceof Refusal || error instanceof Unreachable)) throw error;
      this.say(error.message);
    }
    await this.read().catch((error) => this.say(error.message));
    await this.door.changed().catch((error) => this.say(error.message));
  }

  say(text) {
    this.alert.textContent = text;
    this.alert.hidden = !text;
  }
}
