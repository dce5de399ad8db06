/* An answer moves other numbers: those of the picture on screen and of the pictures loaded ahead are read again. */
const SETTLE_MS = 120; // answers given quickly one after another are followed once

class Live {
  /**
   * @param {{deck: () => Deck|null, shown: () => Loaded|null, moved: (item: object) => void}} door
   *   `shown` is the picture whose numbers are on the screen; `moved` draws newer ones there.
   */
  constructor(door) {
    this.door = door;
    this.running = false;
    this.timer = null;
  }

  /** Answers are on the server: every picture in memory that asks for one of their categories is out of date. */
  saved(entries) {
    const deck = this.door.deck();
    const mine = deck ? entries.filter((entry) => entry.project === deck.api.id) : [];
    if (mine.length) deck.saves += 1;
    for (const loaded of mine.length ? deck.ready.values() : []) {
      if (mine.some(({ decision }) => touches(decision, loaded))) loaded.stale = true;
    }
    this.wake();
  }

  wake() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.run(), SETTLE_MS);
  }

  /** One request at a time: the picture on screen first, then the next ones. */
  async run() {
    if (this.running) return; // the loop finds what was marked meanwhile
    this.running = true;
    try {
      for (let loaded = this.next(); loaded; loaded = this.next()) {
        if (loaded !== this.door.shown()) await idle();
        await this.read(loaded);
      }
    } catch (error) {
      // Numbers of a moment ago stay; the next answer tries again.
      if (!(error instanceof Refusal || error instanceof Unreachable)) throw error;
    } finally {
      this.running = false;
    }
  }

  /** @returns {Loaded|undefined} */
  next() {
    const deck = this.door.deck();
    const shown = this.door.shown();
    if (!deck) return undefined;
    if (shown && shown.stale) return shown;
    return deck.ahead().map((id) => deck.ready.get(id)).find((loaded) => loaded && loaded.stale);
  }

  /** @param {Loaded} loaded */
  async read(loaded) {
    const deck = this.door.deck();
    const { id } = loaded.image;
    loaded.stale = false; // an answer saved while the request is away sets it again
    let item;
    try {
      item = await deck.item(id);
    } catch (error) {
      loaded.stale = true;
      throw error;
    }
    if (deck !== this.door.deck() || deck.ready.get(id) !== loaded) return; // too late: it was left or read anew
    if (this.door.shown() === loaded) this.door.moved(item);
    else Object.assign(loaded, item);
  }
}

/** Similar pictures hear of a category; the other cells of the same picture hear of every answer on it. */
function touches(decision, loaded) {
  if (decision.image_id === loaded.image.id) return true;
  return (loaded.cells.get(decision.category_id) || "unknown") === "unknown";
}

/** Wait until the browser has nothing better to do. */
function idle() {
  return new Promise((resolve) => {
    if (window.requestIdleCallback) requestIdleCallback(resolve, { timeout: 300 });
    else setTimeout(resolve, 0);
  });
}
