/* What this computer keeps of answers until the server has them: one localStorage key per answer. */
const OUTBOX_PREFIX = "annotator:outbox:";

/**
 * @typedef {{theirs: State, seq: number, user: string, decided_at: number}} Contest
 * @typedef {{key: string, project: number, decision: object, user?: number, userName?: string,
 *            refused?: string, conflict?: Contest}} Entry
 */

class Kept {
  /** @param {(removed: Entry|null) => void} onElsewhere another tab added, changed or removed something */
  constructor(onElsewhere) {
    this.unkept = new Map(); // entries the browser would not store: they live as long as this tab
    this.memo = null; // everything kept, in order; null when it has to be read again
    this.works = memory.set(`${OUTBOX_PREFIX}probe`, "") && memory.remove(`${OUTBOX_PREFIX}probe`);
    addEventListener("storage", (event) => {
      if (event.key !== null && !event.key.startsWith(OUTBOX_PREFIX)) return;
      this.memo = null;
      onElsewhere(event.key && event.oldValue && event.newValue === null ? JSON.parse(event.oldValue) : null);
    });
    addEventListener("beforeunload", (event) => {
      if (this.unkept.size) event.preventDefault(); // closing the tab would lose them: the browser asks
    });
  }

  /** A key that sorts after all others, whatever the clock of this computer does. @param {string} op */
  freshKey(op) {
    const newest = this.all().at(-1);
    const last = newest ? Number(newest.key.slice(OUTBOX_PREFIX.length).slice(0, 15)) : 0;
    const stamp = Math.max(Date.now(), last + 1);
    return `${OUTBOX_PREFIX}${String(stamp).padStart(15, "0")}000000:${op}`;
  }

  /** @param {Entry} entry */
  put(entry) {
    this.works = memory.set(entry.key, JSON.stringify(entry));
    if (this.works) this.unkept.delete(entry.key);
    else this.unkept.set(entry.key, entry);
    this.memo = null;
  }

  /** @param {string} key */
  remove(key) {
    memory.remove(key);
    this.unkept.delete(key);
    this.memo = null;
  }

  /** @returns {Entry[]} oldest first */
  all() {
    if (this.memo === null) this.memo = this.read();
    return this.memo;
  }

  read() {
    const found = new Map(this.unkept);
    for (const key of memory.keys()) {
      const text = key.startsWith(OUTBOX_PREFIX) && !this.unkept.has(key) ? memory.get(key) : null;
      if (text) found.set(key, JSON.parse(text));
    }
    return [...found.values()].sort((a, b) => (a.key < b.key ? -1 : 1));
  }
}

/** Whether two entries are about the same cell. @param {Entry} a @param {Entry} b */
function sameCell(a, b) {
  return a.decision.image_id === b.decision.image_id && a.decision.category_id === b.decision.category_id;
}
