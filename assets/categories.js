/* The list of categories: rename, sort, merge, archive, bring back. Ids never change: answers on their way keep theirs. */
class CategoryList {
  /**
   * @param {HTMLDialogElement} dialog
   * @param {{api: () => ProjectApi, changed: () => Promise<void>, reaches: (role: string) => boolean}} door
   */
  constructor(dialog, door) {
    this.dialog = dialog;
    this.door = door;
    this.told = make("p", {});
    this.alert = make("p", { role: "alert", hidden: true });
    this.active = make("ol", { class: "ann-names", "aria-label": "Asked categories" });
    this.archived = make("ul", { class: "ann-names", "aria-label": "Archived categories" });
    this.archivedTitle = make("h3", {}, "Archived: no longer asked, labels kept");
    this.merging = new Merging({
      api: () => door.api(),
      attempt: (work) => this.attempt(work),
      closed: (id) => dialog.querySelector(`[data-what="merge"][data-id="${id}"]`)?.focus(),
    });
    this.close = make("button", { type: "button" }, "Close", make("kbd", {}, "Esc"));
    this.close.addEventListener("click", () => dialog.close());
    dialog.replaceChildren(
      make("h2", {}, "Categories"),
      this.told,
      this.alert,
      this.merging.node,
      this.active,
      this.archivedTitle,
      this.archived,
      this.close,
    );
    dialog.addEventListener("click", (event) => this.clicked(event));
    dialog.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || !event.target.matches("input")) return;
      event.target.blur(); // that is the change
      event.target.focus();
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
    const kept = this.focusedControl();
    this.may = { name: this.door.reaches("reviewer"), archive: this.door.reaches("admin") };
    this.told.textContent = this.words();
    this.ids = active.map((one) => one.id);
    this.named = new Map([...active, ...archived].map((one) => [one.id, one]));
    this.choices = active;
    this.active.replaceChildren(...active.map((one, i) => this.row(one, i)));
    this.archived.replaceChildren(
      ...archived.map((one) =>
        make("li", {}, make("span", {}, one.name), ...this.archiving(one, "restore", "Restore")),
      ),
    );
    this.archivedTitle.hidden = !archived.length;
    if (kept) this.focusAgain(kept);
  }

  /** What of the list has the keyboard; drawing the list again would drop it. @returns {object|null} */
  focusedControl() {
    const { activeElement: node } = document;
    const row = node && this.dialog.contains(node) ? node.closest(".ann-names li") : null;
    if (!row) return null;
    const { what = "rename", id, rename } = node.dataset;
    const list = row.parentElement;
    return { what, id: id || rename, list, at: [...list.children].indexOf(row) };
  }

  /** The same control of the same category, else of the row that took its place. */
  focusAgain({ what, id, list, at }) {
    const same = what === "rename" ? `[data-rename="${id}"]` : `[data-what="${what}"][data-id="${id}"]`;
    const row = list.children[Math.min(at, list.children.length - 1)];
    const wanted = this.dialog.querySelector(same) || (row && row.querySelector(`[data-what="${what}"]`));
    const able = wanted && wanted.disabled ? wanted.closest("li").querySelector("button:enabled") : wanted;
    (able || this.close).focus();
  }

  words() {
    if (this.may.archive) return "A new name changes only the text. Archiving stops asking; nothing is deleted.";
    if (this.may.name) return "A new name changes only the text. Merging and archiving need the role “admin”.";
    return "Renaming and sorting need the role “reviewer”, merging and archiving the role “admin”.";
  }

  /** What only admins may do with a category. */
  archiving(one, what, words) {
    return this.may.archive ? [this.mergeButton(one), this.button(what, one.id, words)] : [];
  }

  row(one, i) {
    if (!this.may.name) return make("li", {}, make("span", {}, one.name));
    const name = make("input", { value: one.name, "data-rename": one.id, "aria-label": "Name", maxlength: 200 });
    const up = this.button("up", one.id, "↑", `Move ${one.name} up`);
    const down = this.button("down", one.id, "↓", `Move ${one.name} down`);
    up.disabled = i === 0;
    down.disabled = i === this.ids.length - 1;
    return make("li", {}, name, up, down, ...this.archiving(one, "archive", "Archive"));
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
