/* The pictures in asking order, and the next few of them loaded ahead so that a key shows them at once. */
const AHEAD = 3;
const KEPT = 16;

/**
 * @typedef {{image: object, cells: Map<number, State>, candidates: object[], generation: number|null, note: string,
 *            picture: HTMLImageElement, under: number|null}} Loaded
 */

class Deck {
  /** @param {ProjectApi} api @param {Outbox} outbox */
  constructor(api, outbox) {
    this.api = api;
    this.outbox = outbox;
    this.trail = []; // shown already, in order
    this.at = -1;
    this.upcoming = [];
    this.note = "";
    this.generation = null;
    /** @type {Map<number, Promise<Loaded>>} */
    this.cache = new Map();
    /** @type {Map<number, Loaded>} what can be shown without waiting */
    this.ready = new Map();
  }

  get current() {
    return this.at >= 0 ? this.trail[this.at] : null;
  }

  /** How many pictures are ahead of the shown one. */
  get remaining() {
    return this.trail.length - 1 - this.at + this.upcoming.length;
  }

  /** Ask for the order again; pictures already shown in this pass come last. */
  async refresh() {
    const answer = await this.api.deck();
    this.note = answer.note || "";
    this.setGeneration(answer.generation);
    const seen = new Set(this.trail);
    this.upcoming = answer.ids.filter((id) => !seen.has(id));
    return answer.ids;
  }

  /** Candidates of another generation are stale: forget what was loaded ahead, keep what is on screen. */
  setGeneration(generation) {
    if (generation === this.generation) return false;
    this.generation = generation;
    for (const id of [...this.cache.keys()]) if (id !== this.current) this.forget(id);
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

  /** @param {number} id go to this picture, wherever it is */
  jump(id) {
    const known = this.trail.indexOf(id);
    if (known >= 0) {
      this.at = known;
    } else {
      this.upcoming = this.upcoming.filter((other) => other !== id);
      this.at += 1;
      this.trail.splice(this.at, 0, id);
    }
    return id;
  }

  /** @returns {Promise<number|null>} the next picture; null when no picture has a cell to ask */
  async next() {
    if (this.at + 1 < this.trail.length) {
      this.at += 1;
      return this.current;
    }
    if (!this.upcoming.length) {
      await this.outbox.flush();
      const ids = await this.refresh();
      if (!this.upcoming.length && !(await this.startAgain(ids))) return null;
    }
    this.trail.push(this.upcoming.shift());
    this.at = this.trail.length - 1;
    return this.current;
  }

  /** Everything was shown once; what still has unknown cells comes round again. */
  startAgain(ids) {
    const here = this.current;
    const again = ids.filter((id) => id !== here);
    if (!ids.length) return false;
    this.trail = again.length && here !== null ? [here] : [];
    this.upcoming = again.length ? again : ids;
    return true;
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
    for (const old of [...this.cache.keys()].slice(0, -KEPT)) if (old !== this.current) this.forget(old);
    return promise;
  }

  async fetch(id) {
    const since = Date.now();
    const under = this.generation;
    const item = await this.api.item(id);
    const picture = new Image();
    picture.src = item.image.url;
    picture.alt = item.image.name;
    await picture.decode().catch(() => {
      throw new Unreachable(`The picture ${item.image.name} could not be loaded.`);
    });
    const cells = new Map(item.cells.map((cell) => [cell.category_id, cell.state]));
    for (const cell of this.outbox.overlay(id, since)) cells.set(cell.category_id, cell.state);
    return { ...item, cells, picture, under };
  }

  /** Load the next pictures ahead, and the small pictures of the very next one. */
  prefetch() {
    const ids = [...this.trail.slice(this.at + 1), ...this.upcoming].slice(0, AHEAD);
    ids.forEach((id, i) => {
      const loading = this.load(id);
      loading.then(
        (loaded) => {
          if (i === 0) for (const url of evidenceThumbs(loaded)) new Image().src = url;
        },
        () => undefined, // shown when its turn comes
      );
    });
  }
}

/** @param {Loaded} loaded */
function evidenceThumbs(loaded) {
  return loaded.candidates.flatMap((candidate) => (candidate.evidence || []).map((one) => one.thumb));
}
