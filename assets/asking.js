/* The question on screen: one picture, its candidates, and what the answer keys do to them. */
class Asking {
  /**
   * @param {HTMLElement} root @param {Object<string, HTMLElement>} parts
   * @param {{answers: Answers, status: StatusLine, categories: () => Map<number, object>, api: () => ProjectApi,
   *          say: (text: string) => void, settled: () => void, reaches: (role: string) => boolean}} door
   *   `settled`: a blind question has its answer; `reaches`: the person has at least this role here
   */
  constructor(root, parts, door) {
    this.root = root;
    this.parts = parts;
    this.door = door;
    /** @type {Loaded|null} null while a picture is on its way */
    this.loaded = null;
    /** @type {Question|null} what is asked about it */
    this.question = null;
    this.viewer = new Viewer(parts.stage, parts.canvas);
    this.heat = new HeatMap(this.viewer, parts.badge, root.querySelector('[data-action="heat"]'));
    this.panel = new Candidates(parts, (id) => this.focus(id));
  }

  /** Whether the person may only look. */
  get looking() {
    return !this.door.reaches("annotator");
  }

  get blind() {
    return this.question !== null && this.question.blind;
  }

  name(id) {
    return this.panel.nameOf(id);
  }

  /** @param {string} text instead of a picture */
  clear(text) {
    this.viewer.clear();
    this.panel.clear();
    this.loaded = null;
    this.question = null;
    this.parts.message.textContent = text;
    this.parts.message.hidden = false;
    this.parts.name.textContent = "";
    this.parts.badge.hidden = true;
    this.drawVerdicts();
  }

  /**
   * @param {Loaded} loaded @param {Question} question @param {number|null} focus
   * @param {{remaining: number, withheld: Set<number>}} deck questions waiting; categories to be asked blind
   */
  draw(loaded, question, focus, { remaining, withheld }) {
    Object.assign(this, { loaded, question, withheld });
    const { image } = loaded;
    // Numbers may have moved since it was loaded; from here on every row keeps its place.
    loaded.candidates.sort((a, b) => b.p - a.p);
    this.parts.message.hidden = true;
    this.viewer.show(loaded.picture, image.width, image.height);
    this.panel.looking = this.looking;
    this.panel.show(loaded, this.door.categories(), question, withheld);
    const more = remaining ? `${grouped(remaining)} more waiting` : "last one waiting";
    this.parts.name.replaceChildren(make("b", {}, image.name), ` ${image.width} × ${image.height} · ${more}`);
    this.root.querySelector('[data-action="refresh"]').hidden = true;
    this.root.dataset.image = String(image.id);
    this.sayQuestion();
    this.shownAt = performance.now();
    this.focus(focus ?? this.first());
  }

  /** The asked category while it is open, else the first open one. */
  first() {
    const asked = this.question.category_id;
    const open = this.panel.open();
    return (open.includes(asked) ? asked : open[0]) ?? this.panel.order()[0] ?? null;
  }

  sayQuestion() {
    const { name } = this.loaded.image;
    if (this.blind) this.door.say(`${name}: ${this.name(this.question.category_id)}, asked without a suggestion.`);
    else this.door.say(`${name}: ${count(this.panel.open().length, "open candidate")}.`);
  }

  /** Draw the panel again for the same picture; the focus stays. */
  redraw() {
    const focused = this.panel.focused;
    this.panel.looking = this.looking;
    this.panel.show(this.loaded, this.door.categories(), this.question, this.withheld);
    this.focus(focused ?? this.panel.open()[0] ?? null);
  }

  // ---- focus

  focus(id) {
    this.focusedAt = performance.now();
    if (id !== null) this.panel.focus(id);
    this.drawVerdicts();
    const hidden = id === null || this.blind; // where the model looked is a suggestion too
    this.heat.follow(this.door.api(), this.loaded, hidden ? null : this.door.categories().get(id) || null);
  }

  drawVerdicts() {
    const id = this.panel.focused;
    const { looking } = this;
    for (const state of Object.keys(STATES)) {
      const button = this.root.querySelector(`[data-action="${state}"]`);
      button.setAttribute("aria-pressed", String(id !== null && this.panel.state(id) === state));
      button.disabled = id === null || looking;
    }
    const also = '[data-action="add"], .ann-grid-foot .ann-verdicts button, [data-action="grid-rest"]';
    for (const button of this.root.querySelectorAll(also)) button.disabled = looking;
    this.root.querySelector('[data-action="rest"]').disabled =
      looking || !this.loaded || this.blind || !this.panel.open().length;
    this.root.querySelector('[data-action="heat"]').disabled = this.blind;
    for (const button of this.root.querySelectorAll('[data-action="undo"]')) button.disabled = !this.door.answers.last;
  }

  toggleHeat() {
    if (this.blind) this.door.say("This is asked without a suggestion, so the heat map stays away.");
    else this.heat.toggle();
  }

  step(by) {
    const ids = this.panel.order();
    if (!this.loaded || !ids.length) return;
    const at = ids.indexOf(this.panel.focused);
    this.focus(ids[Math.min(ids.length - 1, Math.max(0, at + by))]);
  }

  // ---- answers

  answerFocused(state) {
    const id = this.panel.focused;
    if (!this.loaded || id === null) return;
    const asked = id === this.question.category_id;
    this.decide([id], state, { source: "human" });
    if (this.blind && asked && state !== "unknown") {
      this.door.settled(); // there is nothing else to do here
      return;
    }
    // What is asked first may stand anywhere in the list: the others follow from the top.
    const following = asked ? this.panel.open()[0] : this.panel.nextOpen(id);
    const next = state === "unknown" ? id : following ?? id;
    this.focus(next);
    const done = next === id && state !== "unknown" ? "Every candidate shown is answered: → for the next picture." : "";
    this.door.say(`${this.name(id)}: ${STATES[state].answer}. ${next === id ? done : `Next: ${this.name(next)}.`}`);
  }

  answerNamed(id, state) {
    if (!this.loaded) return;
    const focused = this.panel.focused;
    this.decide([id], state, { source: "human" });
    // The focus stays with the open candidate it was on: the next key must not change this answer.
    this.focus(focused === id || focused === null ? this.panel.nextOpen(id) ?? id : focused);
    this.door.say(`${this.name(id)}: ${STATES[state].answer}.`);
  }

  noneOfTheRest() {
    const ids = this.loaded && !this.blind ? this.panel.readable() : [];
    if (!ids.length) return;
    this.decide(ids, "negative", { source: "group" });
    this.focus(this.panel.focused);
    this.door.say(`No to ${count(ids.length, "category", "categories")}. Z takes all of it back.`);
  }

  /** @param {number[]} ids categories @param {State} state @param {{source: string}} how */
  decide(ids, state, { source }) {
    const { question, loaded } = this;
    const since = source === "group" ? this.shownAt : Math.max(this.focusedAt, this.shownAt);
    const shown = Math.round(performance.now() - since);
    const cells = ids.map((id) => ({
      image: loaded.image.id,
      category: id,
      before: this.panel.state(id),
      base: loaded.seqs.get(id) || 0,
      own: loaded.own.get(id),
    }));
    this.door.answers.give({ question }, cells, state, ({ category }) => ({
      source,
      shown_ms: shown,
      ...this.context(category),
    }));
  }

  /** In which mode a cell was asked and which number was shown beside it. */
  context(category) {
    const { question, loaded } = this;
    const candidate = question.blind ? undefined : this.panel.candidate(category);
    const generation = candidate && candidate.generation !== undefined ? candidate.generation : loaded.generation;
    const seen = generation === null ? {} : { generation_id: generation };
    if (question.blind && category === question.category_id) return { ...seen, mode: "blind", random_stream: true };
    if (candidate && candidate.p !== null) seen.score = candidate.p;
    return { ...seen, mode: "image" };
  }

  /** A cell has a new state, wherever it was given. @param {Cell} cell @param {State} state */
  changed(cell, state) {
    if (this.loaded && this.loaded.image.id === cell.image) {
      this.loaded.cells.set(cell.category, state);
      this.panel.update(cell.category);
    }
    this.drawVerdicts();
  }
}
