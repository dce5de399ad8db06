/*
 * Every answer is written here, on this computer, before it is sent, and leaves only when the server has it.
 * The operation id makes sending twice harmless, keys sort in the order in which answers were given, and each
 * answer belongs to the person who gave it: nobody else's session sends it.
 */
const OUTBOX_LEASE = "annotator:outbox-lease";
const BATCH = 50;
const BACK_OFF = [500, 1000, 2000, 4000, 8000, 15000];
const REMEMBER_MS = 60000;

class Outbox {
  /**
   * @param {{onChange: () => void, onRefused: (decision: object) => void, onSaved: (saved: Entry[]) => void,
   *          onContested: (entry: Entry, cell: object, kept: boolean) => void,
   *          onPerson: (me: object) => void}} listeners
   *   onContested: the server holds another answer; `kept` when the person has to choose
   */
  constructor(listeners) {
    Object.assign(this, listeners);
    this.lease = freshId();
    /** @type {{id: number, name: string}|null} who is signed in, as far as this tab knows */
    this.me = null;
    this.failures = 0;
    this.problem = null; // Unreachable of the last attempt
    this.alone = 0; // entries still to be sent one by one, to find a refused one
    this.sending = null;
    this.timer = null;
    this.acknowledged = [];
    this.kept = new Kept((removed) => {
      this.onChange();
      if (removed && !removed.refused && !removed.conflict) this.onSaved([removed]); // sent by another tab
    });
    addEventListener("online", () => this.flush());
    addEventListener("pagehide", () => this.lastCall());
  }

  /** @param {number} project @param {object} decision as the decisions route takes it */
  add(project, decision) {
    const who = this.me ? { user: this.me.id, userName: this.me.name } : {};
    const entry = { key: this.kept.freshKey(decision.op_id), project, decision, ...who };
    // A newer answer of the same person stands for the one that waits for a choice.
    for (const old of this.contested().filter((one) => sameCell(one, entry))) this.kept.remove(old.key);
    this.kept.put(entry);
    this.onChange();
    if (!this.failures) this.flush(); // otherwise the next try is already planned
  }

  /** @returns {Entry|undefined} */
  find(key) {
    return this.kept.all().find((entry) => entry.key === key);
  }

  isMine(entry) {
    return entry.user === undefined || !this.me || entry.user === this.me.id;
  }

  waiting() {
    return this.kept.all().filter((entry) => !entry.refused && !entry.conflict && this.isMine(entry));
  }

  refused() {
    return this.kept.all().filter((entry) => entry.refused && this.isMine(entry));
  }

  /** Answers that met a different one of somebody else: the person chooses. */
  contested() {
    return this.kept.all().filter((entry) => entry.conflict && this.isMine(entry));
  }

  /** Answers of other people who used this browser: they wait until those sign in. */
  others() {
    return this.kept.all().filter((entry) => !this.isMine(entry));
  }

  /** States that the server may not have had when a request of that time was answered, oldest first. */
  overlay(imageId, since) {
    const late = this.acknowledged.filter((one) => one.at >= since).map((one) => one.entry);
    return [...late, ...this.waiting()]
      .filter((entry) => entry.decision.image_id === imageId)
      .map(({ decision }) => ({ category_id: decision.category_id, state: decision.state, op: decision.op_id }));
  }

  discard(key) {
    this.kept.remove(key);
    this.onChange();
  }

  /** A refused answer once more, or "all" of them: what stood in its way may be gone. */
  retry(key) {
    for (const { refused, ...entry } of this.refused().filter((one) => key === "all" || one.key === key)) {
      this.kept.put(entry);
    }
    this.onChange();
    this.flush();
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
    const planned = this.failures ? BACK_OFF[Math.min(this.failures, BACK_OFF.length) - 1] : 50;
    const wait = Math.max(planned, this.problem ? this.problem.retryAfter * 1000 : 0);
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
    const lease = JSON.parse(memory.get(OUTBOX_LEASE) || "null");
    if (lease && lease.owner !== this.lease && lease.until > Date.now()) return false;
    memory.set(OUTBOX_LEASE, JSON.stringify({ owner: this.lease, until: Date.now() + 35000 }));
    try {
      await work();
    } finally {
      memory.remove(OUTBOX_LEASE);
    }
    return true;
  }

  async sendBatch() {
    this.kept.memo = null; // another tab may have sent some of it while this one waited for its turn
    if (!this.me) await this.ask();
    const waiting = this.waiting();
    if (!waiting.length) return;
    const limit = this.alone > 0 ? 1 : BATCH;
    const batch = waiting.filter((entry) => entry.project === waiting[0].project).slice(0, limit);
    try {
      await ask(`/api/projects/${batch[0].project}/decisions`, { method: "POST", body: this.body(batch) });
      this.accept(batch);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      await this.refuse(batch, error);
    }
    this.alone = Math.max(0, this.alone - 1);
    this.onChange();
  }

  body(batch) {
    return { given_by: this.me.id, decisions: batch.map((entry) => entry.decision) };
  }

  /** Who is signed in now; answers go out only under the name of who gave them. */
  async ask() {
    this.meet(await ask("/api/me"));
  }

  /** @param {{id: number, name: string}} me */
  meet(me) {
    const before = this.person;
    this.me = this.person = me;
    if (before && before.id !== me.id) this.onPerson(me);
    this.onChange();
  }

  accept(batch) {
    const at = Date.now();
    this.acknowledged = this.acknowledged.filter((one) => at - one.at < REMEMBER_MS);
    for (const entry of batch) {
      this.acknowledged.push({ entry, at });
      this.kept.remove(entry.key);
    }
    this.failures = 0;
    this.problem = null;
    this.onSaved(batch);
  }

  async refuse(batch, refusal) {
    if (refusal.code === "other_person") {
      this.me = null; // somebody else signed in, in another tab: ask who, then send what is theirs
      await this.ask();
      return;
    }
    const met = refusal.cells.filter((cell) => batch.some((entry) => entry.decision.op_id === cell.op_id));
    if (met.length) for (const cell of met) this.contest(batch, cell);
    else this.isolate(batch, refusal);
  }

  /** Somebody else was first: one open question per cell, about the newest answer of this person. */
  contest(batch, cell) {
    const entry = batch.find((one) => one.decision.op_id === cell.op_id);
    for (const old of this.contested().filter((one) => sameCell(one, entry))) this.kept.remove(old.key);
    const newer = this.waiting().some((one) => sameCell(one, entry) && one.key > entry.key);
    const takesBack = entry.decision.undo_of && entry.decision.state === "unknown"; // it insists on nothing
    const { theirs, seq, user, decided_at } = cell;
    if (newer || takesBack) this.kept.remove(entry.key);
    else this.kept.put({ ...entry, conflict: { theirs, seq, user, decided_at } });
    if (!newer) this.onContested(entry, cell, !takesBack);
  }

  /** A refused batch is sent again one by one; a refused answer steps aside and the others go on. */
  isolate(batch, refusal) {
    if (batch.length > 1) {
      this.alone = batch.length + 1;
      return;
    }
    this.kept.put({ ...batch[0], refused: whyNot(refusal, batch[0]) });
    this.onRefused(batch[0].decision);
  }

  /** The page goes away: one last send that outlives it. The entries stay until a later visit sees the answer. */
  lastCall() {
    const waiting = this.waiting();
    if (!waiting.length || !this.me) return;
    const batch = waiting.filter((entry) => entry.project === waiting[0].project).slice(0, BATCH);
    fetch(`/api/projects/${batch[0].project}/decisions`, {
      method: "POST",
      keepalive: true,
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(this.body(batch)),
    }).catch(() => undefined); // nobody is left to tell; the entries are still kept
  }
}

/** The server tells nobody whether a project exists; this page had it open, so it knows which of the two it is. */
function whyNot(refusal, entry) {
  const gone = refusal.status === 404 && refusal.message === `There is no project ${entry.project}.`;
  return gone ? "You are not in this project any more; ask one of its admins, then try again." : refusal.message;
}
