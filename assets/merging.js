/* Merging one category into another: choose, see what it would do, then do it. Nothing is overwritten. */
class Merging {
  /**
   * @param {{api: () => ProjectApi, attempt: (work: () => Promise<void>) => Promise<void>,
   *          closed: (id: number) => void}} door
   */
  constructor(door) {
    this.door = door;
    this.title = make("h3", {});
    this.into = make("select", { "aria-label": "Merge into" });
    this.told = make("p", { role: "status" });
    this.differing = make("ul", { class: "ann-differing", "aria-label": "Pictures that disagree", tabindex: 0 });
    this.yes = make("button", { type: "button" }, "Merge");
    this.no = make("button", { type: "button" }, "Cancel");
    this.node = make(
      "section",
      { class: "ann-merging", hidden: true },
      this.title,
      make("label", {}, "into ", this.into),
      this.told,
      this.differing,
      make("p", { class: "ann-merging-buttons" }, this.yes, this.no),
    );
    this.into.addEventListener("change", () => this.look());
    this.yes.addEventListener("click", () => this.merge());
    this.no.addEventListener("click", () => this.close());
  }

  /** @param {{id: number, name: string}} source @param {{id: number, name: string}[]} active the asked categories */
  open(source, active) {
    this.source = source;
    const others = active.filter((one) => one.id !== source.id);
    const first = make("option", { value: "" }, "choose a category …");
    this.into.replaceChildren(first, ...others.map((one) => make("option", { value: one.id }, one.name)));
    this.title.textContent = `Merge “${source.name}”`;
    this.into.parentElement.hidden = false;
    this.show("Its answers are taken over where the other category was not asked; then it is archived.");
    this.yes.hidden = false;
    this.yes.disabled = true;
    this.no.textContent = "Cancel";
    this.node.hidden = false;
    this.node.scrollIntoView({ block: "nearest" });
    this.into.focus();
  }

  close() {
    const open = !this.node.hidden;
    this.node.hidden = true;
    if (open) this.door.closed(this.source.id);
  }

  /** What merging into the chosen category would do. */
  look() {
    const { source } = this;
    const into = Number(this.into.value);
    this.yes.disabled = true;
    if (!into) return this.show("Choose the category that takes the answers over.");
    return this.door.attempt(async () => {
      const found = await this.door.api().mergeCategory(source.id, into, true);
      if (this.source !== source || Number(this.into.value) !== into) return; // another was chosen meanwhile
      this.show(found.message, found);
      this.yes.disabled = found.nothing;
    });
  }

  merge() {
    const { source } = this;
    const into = Number(this.into.value);
    this.yes.disabled = this.no.disabled = true; // what is on its way cannot be called back
    return this.door.attempt(async () => {
      const asked = this.door.api().mergeCategory(source.id, into, false);
      const found = await asked.finally(() => (this.no.disabled = false));
      if (this.source !== source) return;
      this.show(found.message, found);
      this.into.parentElement.hidden = true;
      this.yes.hidden = true;
      this.no.textContent = "Done";
      this.no.focus();
    });
  }

  show(text, found = { differ: 0, differing: [] }) {
    this.told.textContent = text;
    const said = (one) => `${one.name}: ${STATES[one.source].answer}, stays ${STATES[one.target].answer}`;
    this.differing.replaceChildren(...found.differing.map((one) => make("li", {}, said(one))));
    const more = found.differ - found.differing.length;
    if (more > 0) this.differing.append(make("li", {}, `and ${grouped(more)} more`));
    this.differing.hidden = !found.differ;
  }
}
