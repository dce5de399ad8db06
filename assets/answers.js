/* What was answered in this visit: every answer goes into the outbox and can be taken back, the last one first. */

/**
 * @typedef {{image: number, category: number, before: State}} Cell
 * @typedef {{place: object, state: State, entries: (Cell & {op: string, more: object})[]}} Given
 */

class Answers {
  /**
   * @param {Outbox} outbox
   * @param {{project: () => number, changed: (cell: Cell, state: State) => void}} door `changed` shows the new state
   */
  constructor(outbox, door) {
    this.outbox = outbox;
    this.door = door;
    /** @type {Given[]} */
    this.given = [];
  }

  get last() {
    return this.given.at(-1) || null;
  }

  forget() {
    this.given = [];
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
    if (!changed.length) return;
    const entries = changed.map((cell) => {
      const more = about(cell);
      return { ...cell, more, op: this.send(cell, state, more) };
    });
    this.given.push({ place, state, entries });
  }

  /** Take the last answers back; the caller shows their place first. */
  takeBack() {
    const { state, entries } = this.given.pop();
    for (const { image, category, before, op, more } of entries) {
      const how = { source: "human", mode: more.mode, undo_of: op };
      if (more.random_stream) how.random_stream = true;
      this.send({ image, category, before: state }, before, how);
    }
  }

  /** Put one answer into the outbox and show it. @returns {string} operation id */
  send(cell, state, more) {
    const decision = { op_id: freshId(), image_id: cell.image, category_id: cell.category, state, ...more };
    this.outbox.add(this.door.project(), decision);
    this.door.changed(cell, state);
    return decision.op_id;
  }
}
