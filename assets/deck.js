/* The questions in asking order, and the pictures of the next few loaded ahead so that a key shows them at once. */
const AHEAD = 3;
const KEPT = 16;
const TOGETHER = 8; // new questions after which the order is asked for again: others work on the same pictures

/**
 * @typedef {{image_id: number, why: string, category_id: number|null, blind: boolean}} Question
 * @typedef {{image: object, cells: Map<number, State>, seqs: Map<number, number>, own: Map<number, string>,
 *            candidates: object[], generation: number|null, note: string, picture: HTMLImageElement,
 *            under: number|null, stale: boolean}} Loaded
 *   seqs: revision of each cell as the server gave it; own: operation of the own answer that is shown on top of it
 */

/** A picture is asked about once, and once more for each cell of it that is asked blind. @param {Question} question */
function keyOf(question) {
  return question.blind ? `${question.image_id}:${question.category_id}` : String(question.image_id);
}

class Deck {
  /** @param {ProjectApi} api @param {Outbox} outbox @param {string|null} strategy */
  constructor(api, outbox, strategy) {
    this.api = api;
    this.outbox = outbox;
    this.strategy = strategy; // wished by the person; null leaves it to the server
    /** @type {Question[]} shown already, in order */
    this.trail = [];
    this.at = -1;
    /** @type {Question[]} */
    this.upcoming = [];
    this.answer = { note: "", strategies: [], proposal: null, strategy: "" };
    this.generation = null;
    this.asked = 0;
    /** @type {Map<number, Promise<Loaded>>} */
    this.cache = new Map();
    /** @type {Map<number, Loaded>} what can be shown without waiting */
    this.ready = new Map();
    this.taken = 0; // new questions since the order was asked for
    this.saves = 0; // how often answers of this project have reached the server
  }

  /** @returns {Question|null} */
  get current() {
    return this.at >= 0 ? this.trail[this.at] : null;
  }

  /** How many questions are ahead of the shown one. */
  get remaining() {
    return this.trail.length - 1 - this.at + this.upcoming.length;
  }

  /** Ask for the order again; what was shown already in this pass comes last. @returns {Promise<Question[]>} */
  async refresh() {
    const turn = (this.asked += 1);
    this.taken = 0;
    const answer = await this.read();
    if (turn !== this.asked) return answer.questions; // a newer order is on its way
    this.answer = answer;
    this.setGeneration(answer.generation);
    const seen = new Set(this.trail.map(keyOf));
    this.upcoming = answer.questions.filter((one) => !seen.has(keyOf(one)));
    return answer.questions;
  }

  /** What others were given meanwhile comes last; nobody waits for that, and the order there is stays good. */
  lookRound() {
    this.refresh().then(
      () => this.prefetch(),
      (error) => {
        if (!(error instanceof Refusal || error instanceof Unreachable)) throw error;
      },
    );
  }

  async read() {
    const { strategy } = this;
    try {
      return await this.api.deck({ strategy });
    } catch (error) {
      if (!(error instanceof Refusal && error.status === 422 && strategy)) throw error;
      if (this.strategy === strategy) this.strategy = null; // remembered from another version
      return this.api.deck();
    }
  }

  /** Another order from here on: what was walked back over is asked in it as well. @param {string} strategy */
  async reorder(strategy) {
    this.strategy = strategy;
    this.trail.length = this.at + 1;
    await this.refresh();
  }

  /** Candidates of another generation are stale: forget what was loaded ahead, keep what is on screen. */
  setGeneration(generation) {
    if (generation === this.generation) return false;
    this.generation = generation;
    const shown = this.current && this.current.image_id;
    for (const id of [...this.cache.keys()]) if (id !== shown) this.forget(id);
    return true;
  }

  /** Loaded under another generation: its candidates are out of date. */
  dropStale(id) {
    const loaded = this.ready.get(id);
    if (loaded && loaded.under !== this.generation) this.forget(id);
  }

  forget(id) {
    this.cache.delete(id);
    this.ready.delete(id);
  }

  /** Go to a question, wherever it is. @param {Question} question */
  jumpTo(question) {
    const known = this.trail.findIndex((one) => keyOf(one) === keyOf(question));
    if (known >= 0) {
      this.at = known;
    } else {
      this.upcoming = this.upcoming.filter((one) => keyOf(one) !== keyOf(question));
      this.at += 1;
      this.trail.splice(this.at, 0, question);
    }
    return this.current;
  }

  /** @param {number} id go to this picture; when it is waiting, with the reason for which it waits */
  jump(id) {
    const waiting = this.upcoming.find((one) => one.image_id === id && !one.blind);
    return this.jumpTo(waiting || { image_id: id, why: "", category_id: null, blind: false });
  }

  /** @returns {Promise<Question|null>} the next question; null when no picture has a cell to ask */
  async next() {
    if (this.at + 1 < this.trail.length) {
      this.at += 1;
      return this.current;
    }
    if (!this.upcoming.length) {
      await this.outbox.flush();
      const questions = await this.refresh();
      if (!this.upcoming.length && !this.startAgain(questions)) return null;
    }
    this.trail.push(this.upcoming.shift());
    this.at = this.trail.length - 1;
    this.taken += 1;
    if (this.taken >= TOGETHER) this.lookRound();
    return this.current;
  }

  /** Everything was shown once; what still has unknown cells comes round again. @param {Question[]} questions */
  startAgain(questions) {
    const here = this.current;
    const again = questions.filter((one) => !here || keyOf(one) !== keyOf(here));
    if (!questions.length) return false;
    this.trail = again.length && here !== null ? [here] : [];
    this.upcoming = again.length ? again : questions;
    return true;
  }

  /** The one cell of a blind question was answered in another way meanwhile. @param {Loaded} loaded */
  settled(question, loaded) {
    return question.blind && (loaded.cells.get(question.category_id) || "unknown") !== "unknown";
  }

  /** Categories of a picture that are asked blind: a suggestion seen before would spoil them. @returns {Set<number>} */
  withheld(id) {
    const blind = [...this.trail, ...this.upcoming].filter((one) => one.blind && one.image_id === id);
    return new Set(blind.map((one) => one.category_id));
  }

  /** Take the shown question out: there is nothing to ask about it any more. */
  drop() {
    this.trail.splice(this.at, 1);
    this.at -= 1;
  }

  previous() {
    if (this.at <= 0) return null;
    this.at -= 1;
    return this.current;
  }

  /** @returns {Promise<Loaded>} the picture and its cells, from memory when they are there */
  load(id) {
    let promise = this.cache.get(id);
    if (promise) {
      this.cache.delete(id); // put back as the youngest
    } else {
      promise = this.fetch(id);
      promise.then(
        (loaded) => {
          if (this.cache.get(id) === promise) this.ready.set(id, loaded);
        },
        () => {
          if (this.cache.get(id) === promise) this.forget(id);
        },
      );
    }
    this.cache.set(id, promise);
    const shown = this.current && this.current.image_id;
    for (const old of [...this.cache.keys()].slice(0, -KEPT)) if (old !== shown) this.forget(old);
    return promise;
  }

  async fetch(id) {
    const before = this.saves;
    const item = await this.item(id);
    const picture = new Image();
    picture.alt = item.image.name;
    await pictureArrived(picture, item.image.url).catch(() => this.missing(item.image));
    // An answer that was saved meanwhile may not be in these numbers: they are read again.
    return { ...item, picture, stale: this.saves !== before };
  }

  /** Throw why a picture cannot be shown: its file may be gone from the server. */
  async missing(image) {
    const response = await fetch(image.url, { headers: { Accept: "application/json" } }).catch(() => null);
    if (response && response.status >= 400) readAnswer(response.status, await response.text());
    throw new Unreachable(`The picture ${image.name} could not be loaded.`);
  }

  /** What the server knows of a picture, with the answers that are still on their way to it. */
  async item(id) {
    const since = Date.now();
    const under = this.generation;
    const item = await this.api.item(id);
    const cells = new Map(item.cells.map((cell) => [cell.category_id, cell.state]));
    const seqs = new Map(item.cells.map((cell) => [cell.category_id, cell.seq]));
    const own = new Map();
    for (const cell of this.outbox.overlay(id, since)) {
      cells.set(cell.category_id, cell.state);
      own.set(cell.category_id, cell.op);
    }
    // A number may outlive its generation on the screen: each one says where it comes from.
    for (const candidate of item.candidates) candidate.generation = item.generation;
    return { ...item, cells, seqs, own, under };
  }

  /** Pictures of the next questions, nearest first. @returns {number[]} */
  ahead() {
    const waiting = [...this.trail.slice(this.at + 1), ...this.upcoming.slice(0, 2 * AHEAD)];
    return [...new Set(waiting.map((one) => one.image_id))].slice(0, AHEAD);
  }

  /** Load the next pictures ahead, and the small pictures of the very next one unless it is asked blind. */
  prefetch() {
    const next = this.trail[this.at + 1] || this.upcoming[0];
    for (const id of this.ahead()) {
      this.load(id).then(
        (loaded) => {
          if (id === next.image_id && !next.blind) for (const url of evidenceThumbs(loaded)) new Image().src = url;
        },
        () => undefined, // shown when its turn comes
      );
    }
  }
}

/** @param {Loaded} loaded */
function evidenceThumbs(loaded) {
  return loaded.candidates.flatMap((candidate) => (candidate.evidence || []).map((one) => one.thumb));
}
