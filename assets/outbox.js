/*
 * Every answer is written here, on this computer, before it is sent, and leaves only when the server has it.
 * One localStorage key per answer: several tabs add and remove without overwriting each other, and the
 * operation id makes sending twice harmless. Keys sort in the order in which answers were given.
 */
const OUTBOX_PREFIX = "annotator:outbox:";
const OUTBOX_LEASE = "annotator:outbox-lease";
const BATCH = 50;
const BACK_OFF = [500, 1000, 2000, 4000, 8000, 15000];
const REMEMBER_MS = 60000;

/** @typedef {{key: string, project: number, decision: object, refused?: string}} Entry */

class Outbox {
  /** @param {{onChange: Function, onRefused: Function, onSaved: (saved: Entry[]) => void}} listeners */
  constructor({ onChange, onRefused, onSaved }) {
    this.onChange = onChange;
    this.onRefused = onRefused;
    this.onSaved = onSaved;
    this.me = freshId();
    this.counter = 0;
    this.failures = 0;
    this.problem = null; // Unreachable of the last attempt
    this.alone = 0; // entries still to be sent one by one, to find a refused one
    this.sending = null;
    this.timer = null;
    this.acknowledged = [];
    this.unkept = new Map(); // entries the browser would not store
    addEventListener("storage", (event) => {
      if (event.key !== null && !event.key.startsWith(OUTBOX_PREFIX)) return;
      this.onChange();
      // Another tab took it off the list: it sent what was given here or there.
      if (event.key && event.oldValue && event.newValue === null) this.onSaved([JSON.parse(event.oldValue)]);
    });
    addEventListener("online", () => this.flush());
    addEventListener("pagehide", () => this.lastCall());
  }

  /** @param {number} project @param {object} decision as the decisions route takes it */
  add(project, decision) {
    this.counter += 1;
    const stamp = `${String(Date.now()).padStart(15, "0")}${String(this.counter).padStart(6, "0")}`;
    this.keep({ key: `${OUTBOX_PREFIX}${stamp}:${decision.op_id}`, project, decision });
    this.onChange();
    if (!this.failures) this.flush(); // otherwise the next try is already planned
  }

  keep(entry) {
    try {
      localStorage.setItem(entry.key, JSON.stringify(entry));
    } catch (error) {
      this.unkept.set(entry.key, entry); // full or forbidden: still sent, but lost with the tab
    }
  }

  remove(key) {
    localStorage.removeItem(key);
    this.unkept.delete(key);
  }

  /** @returns {Entry[]} everything kept, oldest first */
  entries() {
    const found = new Map(this.unkept);
    for (let i = 0; i < localStorage.length; i += 1) {
      const key = localStorage.key(i);
      if (key && key.startsWith(OUTBOX_PREFIX)) {
        const text = localStorage.getItem(key);
        if (text) found.set(key, JSON.parse(text));
      }
    }
    return [...found.values()].sort((a, b) => (a.key < b.key ? -1 : 1));
  }

  waiting() {
    return this.entries().filter((entry) => !entry.refused);
  }

  refused() {
    return this.entries().filter((entry) => entry.refused);
  }

  /** States that the server may not have had when a request of that time was answered. */
  overlay(imageId, since) {
    const late = this.acknowledged.filter((one) => one.at >= since).map((one) => one.entry);
    return [...late, ...this.waiting()]
      .filter((entry) => entry.decision.image_id === imageId)
      .map((entry) => ({ category_id: entry.decision.category_id, state: entry.decision.state }));
  }

  discard(key) {
    this.remove(key);
    this.onChange();
  }

  /** Send what is waiting; one sender at a time in this tab, one tab at a time in this browser. */
  flush() {
    if (this.sending) return this.sending;
    clearTimeout(this.timer);
    this.sending = this.sendAll().finally(() => {
      this.sending = null;
      this.onChange();
      if (this.waiting().length) this.later();
    });
    return this.sending;
  }

  later() {
    clearTimeout(this.timer);
    const wait = this.failures ? BACK_OFF[Math.min(this.failures, BACK_OFF.length) - 1] : 50;
    this.timer = setTimeout(() => this.flush(), wait * (0.8 + 0.4 * Math.random()));
  }

  async sendAll() {
    try {
      while (this.waiting().length && (await this.exclusively(() => this.sendBatch())));
    } catch (error) {
      if (!(error instanceof Unreachable)) throw error;
      this.failures += 1;
      this.problem = error;
    }
  }

  /** @returns {Promise<boolean>} false when another tab is sending */
  async exclusively(work) {
    if (navigator.locks) {
      await navigator.locks.request(OUTBOX_LEASE, work);
      return true;
    }
    const lease = JSON.parse(localStorage.getItem(OUTBOX_LEASE) || "null");
    if (lease && lease.owner !== this.me && lease.until > Date.now()) return false;
    localStorage.setItem(OUTBOX_LEASE, JSON.stringify({ owner: this.me, until: Date.now() + 35000 }));
    try {
      await work();
    } finally {
      localStorage.removeItem(OUTBOX_LEASE);
    }
    return true;
  }

  async sendBatch() {
    const waiting = this.waiting();
    if (!waiting.length) return;
    const limit = this.alone > 0 ? 1 : BATCH;
    const batch = waiting.filter((entry) => entry.project === waiting[0].project).slice(0, limit);
    try {
      await ask(`/api/projects/${batch[0].project}/decisions`, {
        method: "POST",
        body: { decisions: batch.map((entry) => entry.decision) },
      });
      this.accept(batch);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      this.isolate(batch, error);
    }
    this.alone = Math.max(0, this.alone - 1);
    this.onChange();
  }

  accept(batch) {
    const at = Date.now();
    this.acknowledged = this.acknowledged.filter((one) => at - one.at < REMEMBER_MS);
    for (const entry of batch) {
      this.acknowledged.push({ entry, at });
      this.remove(entry.key);
    }
    this.failures = 0;
    this.problem = null;
    this.onSaved(batch);
  }

  /** A refused batch is sent again one by one; a refused answer steps aside and the others go on. */
  isolate(batch, refusal) {
    if (batch.length > 1) {
      this.alone = batch.length + 1;
      return;
    }
    this.keep({ ...batch[0], refused: refusal.message });
    this.onRefused(batch[0].decision);
  }

  /** The page goes away: one last send that outlives it. The entries stay until a later visit sees the answer. */
  lastCall() {
    const waiting = this.waiting();
    if (!waiting.length) return;
    const batch = waiting.filter((entry) => entry.project === waiting[0].project).slice(0, BATCH);
    fetch(`/api/projects/${batch[0].project}/decisions`, {
      method: "POST",
      keepalive: true,
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ decisions: batch.map((entry) => entry.decision) }),
    }).catch(() => undefined); // nobody is left to tell; the entries are still kept
  }
}
