/* What was answered in this visit: every answer goes into the outbox and can be taken back, the last one first. */

/**
 * @typedef {{image: number, category: number, before: State, base: number, own: string|undefined}} Cell
 *   base: revision of the cell that is on screen; own: operation of the own answer on screen on top of it
 * @typedef {{place: object, state: State, entries: (Cell & {op: string, more: object})[]}} Given
 */

class Answers {
  /**
   * @param {Outbox} outbox
   * @param {{project: () => number, may: () => boolean, changed: (cell: Cell, state: State, op: string) => void}} door
   *   `may` says why not when the person only looks; `changed` shows the answer
   */
  constructor(outbox, door) {
    this.outbox = outbox;
    this.door = door;
    /** @type {Given[]} */
    this.given = [];
    this.newest = new Map(); // cell -> operation of the last answer given to it here
  }

  get last() {
    return this.given.at(-1) || null;
  }

  forget() {
    this.given = [];
  }

  /** Somebody else's answer stands: what was given here to this cell can no longer be taken back. */
  forgetCell(image, category) {
    const others = (entry) => entry.image !== image || entry.category !== category;
    for (const one of this.given) one.entries = one.entries.filter(others);
    this.given = this.given.filter((one) => one.entries.length);
    this.newest.delete(`${image}:${category}`);
  }

  /** Whether something was answered on this picture in this visit. @param {number} imageId */
  touched(imageId) {
    return this.given.some((one) => one.entries.some((entry) => entry.image === imageId));
  }

  /**
   * @param {object} place where the answers were given: {question} or {page} of a grid
   * @param {Cell[]} cells @param {State} state @param {(cell: Cell) => object} about the rest of each decision
   */
  give(place, cells, state, about) {
    const changed = cells.filter((cell) => cell.before !== state);
    if (!changed.length || !this.door.may()) return;
    const entries = changed.map((cell) => {
      const more = about(cell);
      return { ...cell, more, op: this.send(cell, state, more) };
    });
    this.given.push({ place, state, entries });
  }

  /** Take the last answers back; the caller shows their place first. */
  takeBack() {
    const { state, entries } = this.given.pop();
    for (const { image, category, before, base, op, more } of entries) {
      const how = { source: "human", mode: more.mode, undo_of: op };
      if (more.random_stream) how.random_stream = true;
      const own = this.newest.get(`${image}:${category}`) || op;
      this.send({ image, category, before: state, base, own }, before, how);
    }
  }

  /** Put one answer into the outbox and show it. @returns {string} operation id */
  send(cell, state, more) {
    const { image, category, base, own } = cell;
    const seen = own ? { base_seq: base, after: own } : { base_seq: base };
    const decision = { op_id: freshId(), image_id: image, category_id: category, state, ...seen, ...more };
    this.newest.set(`${image}:${category}`, decision.op_id);
    this.outbox.add(this.door.project(), decision);
    this.door.changed(cell, state, decision.op_id);
    return decision.op_id;
  }
}
