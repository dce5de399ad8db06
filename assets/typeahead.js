/* Any category by typing a part of its name; an unmatched name can become a category. */
const SHOWN = 9;

class TypeAhead {
  /**
   * @param {{find: HTMLInputElement, options: HTMLElement}} parts
   * @param {{categories: () => Map<number, object>, state: (id: number) => State,
   *          answer: (id: number, state: State) => void, create: (name: string, state: State|null) => void}} door
   */
  constructor(parts, door) {
    this.input = parts.find;
    this.list = parts.options;
    this.door = door;
    this.adding = false;
    this.choices = [];
    this.at = 0;
    this.input.addEventListener("input", () => this.draw());
    this.input.addEventListener("focus", () => this.draw());
    this.input.addEventListener("blur", () => this.close());
    this.input.addEventListener("keydown", (event) => this.onKey(event));
    this.list.addEventListener("pointerdown", (event) => {
      event.preventDefault(); // the field keeps the focus
      const option = event.target.closest("[data-at]");
      if (option) this.choose(this.choices[Number(option.dataset.at)], "positive");
    });
  }

  /** @param {{adding?: boolean}} [options] adding: Enter makes a category and answers nothing */
  open({ adding = false } = {}) {
    this.adding = adding;
    this.input.value = "";
    this.input.placeholder = adding ? "Name of the new category" : "Find any category";
    this.input.focus();
    this.draw();
  }

  close() {
    this.list.hidden = true;
    this.adding = false;
    this.input.placeholder = "Find any category";
    this.input.setAttribute("aria-expanded", "false");
    this.input.removeAttribute("aria-activedescendant");
  }

  draw() {
    const typed = this.input.value.trim();
    const found = rankNames(this.door.categories(), typed);
    const same = [...this.door.categories().values()].some((one) => fold(one.name) === fold(typed));
    this.choices = this.adding ? [] : found.slice(0, SHOWN).map((category) => ({ category }));
    if (typed && !same) this.choices.push({ name: typed });
    this.at = 0;
    const hint = this.adding
      ? same ? "This category exists already." : "Enter adds it. It is not asked anywhere until you answer it."
      : "Enter yes · Shift Enter no · Ctrl Enter unsure · Esc back";
    const options = this.choices.map((choice, i) => this.option(choice, i));
    this.list.replaceChildren(...options, make("div", { class: "ann-hint" }, hint));
    this.list.hidden = false;
    this.input.setAttribute("aria-expanded", "true");
    this.mark();
  }

  option(choice, i) {
    const node = make("div", { id: `annotate-option-${i}`, role: "option", "data-at": i });
    if (choice.category) {
      node.append(glyph(this.door.state(choice.category.id)), make("span", {}, choice.category.name));
    } else {
      const more = this.adding ? "" : " and answer it here";
      node.append(make("span", { class: "ann-plus" }, "+"), make("span", {}, `Add category “${choice.name}”${more}`));
    }
    return node;
  }

  mark() {
    this.list.querySelectorAll("[data-at]").forEach((node, i) => {
      node.setAttribute("aria-selected", String(i === this.at));
      if (i === this.at) node.scrollIntoView({ block: "nearest" });
    });
    if (this.choices.length) this.input.setAttribute("aria-activedescendant", `annotate-option-${this.at}`);
    else this.input.removeAttribute("aria-activedescendant");
  }

  onKey(event) {
    if (event.isComposing) return;
    if (event.key === "Escape") {
      event.preventDefault();
      this.done();
    } else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      const step = event.key === "ArrowDown" ? 1 : this.choices.length - 1;
      if (this.choices.length) this.at = (this.at + step) % this.choices.length;
      this.mark();
    } else if (event.key === "Enter") {
      event.preventDefault();
      const state = event.shiftKey ? "negative" : event.ctrlKey || event.altKey ? "unsure" : "positive";
      if (this.choices.length) this.choose(this.choices[this.at], state);
    }
  }

  /** @param {{category?: object, name?: string}} choice @param {State} state */
  choose(choice, state) {
    const adding = this.adding;
    this.done();
    if (choice.category) this.door.answer(choice.category.id, state);
    else this.door.create(choice.name, adding ? null : state);
  }

  done() {
    this.input.value = "";
    this.input.blur();
  }
}

/** Case and accents do not matter for finding. */
function fold(text) {
  return text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
}

/** Names that begin with the text, then those with a word that does, then those that contain it. */
function rankNames(categories, typed) {
  const wanted = fold(typed);
  const ranked = [];
  for (const category of categories.values()) {
    const name = fold(category.name);
    const place = name.indexOf(wanted);
    if (place < 0) continue;
    const rank = name === wanted ? 0 : place === 0 ? 1 : /[\s_/-]/.test(name[place - 1]) ? 2 : 3;
    ranked.push({ category, rank });
  }
  ranked.sort((a, b) => a.rank - b.rank || a.category.position - b.category.position);
  return ranked.map((one) => one.category);
}
