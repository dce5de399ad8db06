/* One category over many pictures: a page of small pictures, each a cell that nobody answered yet. */
const GRID_CELLS = 36;
// Pixels, as annotate.css has them: between cells, beside the picture of a cell, above and below it.
const GRID_GAP = 8;
const CELL_SIDES = 12;
const CELL_FOOT = 35;
const GRID_MOST = 500; // cells asked from the server at once, to get past those that were left open

/**
 * @typedef {{category_id: number, generation: number|null, why: string, shownAt: number, touched: Set<number>,
 *            cells: {image_id: number, name: string, thumb: string, p: number|null}[], states: Map<number, State>,
 *            bases: Map<number, number>, own: Map<number, string>}} GridPage
 *   states, bases and own by picture: what is shown, which revision of the server it rests on (0: nobody answered),
 *   and the operation of the own answer on top of it
 */

class Grid {
  /**
   * @param {Object<string, HTMLElement>} parts
   * @param {{api: () => ProjectApi, outbox: Outbox, categories: () => Map<number, object>, answers: Answers,
   *          say: (text: string) => void, drawn: () => void}} door
   */
  constructor(parts, door) {
    this.parts = parts;
    this.door = door;
    /** @type {GridPage|null} what is on screen */
    this.page = null;
    this.passed = new Set(); // pictures that were shown for this category and left open
    this.buttons = new Map();
    this.at = 0;
    this.turn = 0;
    new ResizeObserver(() => this.fit()).observe(parts["grid-cells"].parentElement);
    parts["grid-cells"].addEventListener("click", (event) => {
      const cell = event.target.closest("[data-image]");
      if (cell) this.toggle(Number(cell.dataset.image));
    });
  }

  get isOpen() {
    return this.page !== null;
  }

  get name() {
    const category = this.door.categories().get(this.page.category_id);
    return category ? category.name : "";
  }

  /** @param {number} categoryId */
  async open(categoryId) {
    this.passed = new Set();
    await this.read(categoryId);
  }

  /** The next page of the same category; what was left open here comes round after the others. */
  async next() {
    const { page } = this;
    for (const cell of page.cells) if (this.state(cell.image_id) === "unknown") this.passed.add(cell.image_id);
    await this.read(page.category_id);
  }

  async read(categoryId) {
    const turn = (this.turn += 1);
    await this.door.outbox.flush(); // so that the server does not ask again what is on its way
    const wanted = Math.min(GRID_MOST, GRID_CELLS + this.passed.size);
    const since = Date.now();
    const answer = await this.door.api().grid(categoryId, wanted);
    if (turn !== this.turn) return;
    const open = answer.cells.filter((cell) => !this.given(cell.image_id, categoryId, since));
    const unseen = open.filter((cell) => !this.passed.has(cell.image_id));
    if (!unseen.length) this.passed = new Set();
    const cells = (unseen.length ? unseen : open).slice(0, GRID_CELLS);
    const round = !unseen.length && cells.length ? "Every open picture was shown; these were left open. " : "";
    const fresh = { states: new Map(), bases: new Map(), own: new Map(), touched: new Set(), shownAt: performance.now() };
    this.show({ ...answer, why: round + answer.why, cells, ...fresh });
  }

  /** An answer to this cell is on its way to the server. */
  given(imageId, categoryId, since) {
    const overlay = this.door.outbox.overlay(imageId, since).filter((one) => one.category_id === categoryId);
    return overlay.length > 0 && overlay.at(-1).state !== "unknown";
  }

  /** @param {GridPage} page */
  show(page) {
    this.turn += 1; // an answer that is still on its way is for a page that was left
    this.page = page;
    this.at = 0;
    this.buttons = new Map(page.cells.map((cell) => [cell.image_id, this.cell(cell)]));
    this.parts["grid-title"].textContent = `Which of these have: ${this.name}?`;
    this.parts["grid-why"].textContent = page.why;
    this.parts["grid-cells"].replaceChildren(...[...this.buttons.values()].map((button) => make("li", {}, button)));
    this.parts["grid-empty"].hidden = page.cells.length > 0;
    this.parts["grid-empty"].textContent = page.cells.length ? "" : page.why || "No open cell of this category is left.";
    this.parts["grid-why"].hidden = !page.cells.length;
    for (const [id, button] of this.buttons) this.paint(id, button);
    this.door.drawn();
    this.fit();
    this.mark();
    if (page.cells.length) this.door.say(`${count(page.cells.length, "picture")}: which have ${this.name}?`);
  }

  /** As large as all cells fit without scrolling: "none of the rest" must not speak for pictures nobody saw. */
  fit() {
    const list = this.parts["grid-cells"];
    const room = list.parentElement.clientHeight - 20;
    const wide = list.clientWidth;
    if (!this.isOpen || !wide) return;
    const cells = Math.max(1, this.page.cells.length);
    const fits = (columns) => {
      const width = (wide - (columns - 1) * GRID_GAP) / columns;
      return Math.ceil(cells / columns) * ((width - CELL_SIDES) * 0.75 + CELL_FOOT + GRID_GAP) <= room;
    };
    let columns = 5;
    while (columns < 14 && !fits(columns)) columns += 1;
    list.style.setProperty("--ann-columns", String(columns));
  }

  close() {
    this.turn += 1;
    this.page = null;
    this.buttons.clear();
    this.parts["grid-cells"].replaceChildren();
    this.door.drawn();
  }

  cell(cell) {
    const button = make("button", { type: "button", class: "ann-cell", "data-image": cell.image_id, title: cell.name });
    const picture = smallPicture(cell.thumb);
    const chance = make("span", { class: "ann-percent" }, cell.p === null ? "" : percent(cell.p));
    button.append(picture, make("span", { class: "ann-cell-foot" }, make("span", { class: "ann-state" }), chance));
    return button;
  }

  paint(id, button) {
    const state = this.state(id);
    const cell = this.page.cells.find((one) => one.image_id === id);
    button.dataset.state = state;
    button.querySelector(".ann-state").replaceChildren(glyph(state));
    const chance = cell.p === null ? "" : `, ${percent(cell.p)}`;
    button.setAttribute("aria-label", `${cell.name}${chance}, ${STATES[state].answer}`);
    const all = count(this.page.cells.length, "picture");
    this.parts["grid-left"].textContent = `${grouped(this.unanswered().length)} of ${all} open`;
  }

  /** @returns {State} */
  state(id) {
    return this.page.states.get(id) || "unknown";
  }

  /** Pictures of the page that nobody answered. */
  unanswered() {
    return this.page.cells.map((cell) => cell.image_id).filter((id) => this.state(id) === "unknown");
  }

  get current() {
    const cell = this.page.cells[this.at];
    return cell ? cell.image_id : null;
  }

  mark() {
    [...this.buttons.values()].forEach((button, i) => {
      if (i === this.at) button.setAttribute("aria-current", "true");
      else button.removeAttribute("aria-current");
    });
    const button = this.buttons.get(this.current);
    if (button) button.scrollIntoView({ block: "nearest" });
  }

  /** Move the cursor. @param {number} columns @param {number} rows */
  step(columns, rows) {
    const { length } = this.page.cells;
    const wide = Number(this.parts["grid-cells"].style.getPropertyValue("--ann-columns"));
    const to = this.at + columns + rows * wide;
    if (to < 0 || to >= length) {
      if (to > this.at) this.door.say("This is the end of the grid: Enter for the next one.");
      return;
    }
    this.at = to;
    this.mark();
  }

  /** @param {State} state of the cell under the cursor; the cursor goes on to the next open one */
  answer(state) {
    const id = this.current;
    if (id === null) return;
    this.give([id], state, "human");
    this.door.say(`${this.page.cells[this.at].name}: ${STATES[state].answer}.`);
    if (state === "unknown") return;
    const ids = this.page.cells.map((cell) => cell.image_id);
    const order = [...ids.slice(this.at + 1), ...ids.slice(0, this.at)];
    const next = order.find((one) => this.state(one) === "unknown");
    if (next === undefined) this.door.say("Every picture here is answered: Enter for the next grid.");
    else this.at = ids.indexOf(next);
    this.mark();
  }

  /** Pressed with the mouse: yes, or back to not asked. */
  toggle(id) {
    this.at = this.page.cells.findIndex((cell) => cell.image_id === id);
    this.give([id], this.state(id) === "positive" ? "unknown" : "positive", "human");
    this.mark();
  }

  rest() {
    const ids = this.unanswered();
    if (!ids.length) return;
    this.give(ids, "negative", "group");
    this.door.say(`No to ${count(ids.length, "picture")}. Enter for the next grid, Z takes all of it back.`);
  }

  give(ids, state, source) {
    const { page } = this;
    for (const id of ids) page.touched.add(id);
    // The time on the grid is shared by the cells looked at: by all of them once the rest is answered.
    const shown = Math.round((performance.now() - page.shownAt) / page.touched.size);
    const cells = ids.map((id) => ({
      image: id,
      category: page.category_id,
      before: this.state(id),
      base: page.bases.get(id) || 0,
      own: page.own.get(id),
    }));
    this.door.answers.give({ page }, cells, state, ({ image }) => {
      const { p } = page.cells.find((cell) => cell.image_id === image);
      const more = { source, mode: "grid", shown_ms: shown };
      if (p !== null) more.score = p;
      if (page.generation !== null) more.generation_id = page.generation;
      return more;
    });
  }

  /** A cell changed its state, here or on the picture. */
  changed({ image, category }, state, op) {
    if (!this.page || this.page.category_id !== category || !this.buttons.has(image)) return;
    this.page.states.set(image, state);
    this.page.own.set(image, op);
    this.paint(image, this.buttons.get(image));
  }

  /** The server holds another answer: that one is shown. @param {{image_id: number, category_id: number}} cell */
  corrected({ image_id: image, category_id: category, theirs, seq }) {
    if (!this.page || this.page.category_id !== category || !this.buttons.has(image)) return;
    this.page.states.set(image, theirs);
    this.page.bases.set(image, seq);
    this.page.own.delete(image);
    this.paint(image, this.buttons.get(image));
  }

  /** Show the page on which answers were given, with the cursor on one of them. @param {GridPage} page */
  reopen(page, imageId) {
    if (this.page !== page) {
      this.show(Object.assign(page, { shownAt: performance.now(), touched: new Set() }));
    }
    this.at = Math.max(0, page.cells.findIndex((cell) => cell.image_id === imageId));
    this.mark();
  }
}
