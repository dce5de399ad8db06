/* Small helpers shared by every part of the annotate surface. */

/** @typedef {"positive"|"negative"|"unsure"|"unknown"} State */

/** The four states in the order in which totals are read, with the words of answers and of totals. */
const STATES = {
  positive: { answer: "yes", total: "yes" },
  negative: { answer: "no", total: "no" },
  unsure: { answer: "unsure", total: "unsure" },
  unknown: { answer: "not asked", total: "not asked" },
};

/** Shape and colour say the same thing, so that either is enough. */
const GLYPHS = {
  positive: '<circle cx="10" cy="10" r="9"/><path class="ink" d="M5.6 10.4l3 3 5.8-6.4"/>',
  negative:
    '<rect x="1.5" y="1.5" width="17" height="17" rx="2"/>' +
    '<path class="ink" d="M6.3 6.3l7.4 7.4M13.7 6.3l-7.4 7.4"/>',
  unsure:
    '<path d="M10 .4L19.6 10 10 19.6.4 10z"/>' +
    '<path class="ink thin" d="M7.6 8.2c0-3 4.8-3 4.8 0 0 1.7-2.4 1.8-2.4 3.6"/>' +
    '<circle class="dot" cx="10" cy="14.4" r="1.1"/>',
  unknown: '<circle class="ring" cx="10" cy="10" r="8.4"/>',
};

/**
 * One element with attributes and children; text is never read as markup.
 * @param {string} tag
 * @param {Object<string, string|number|boolean|null>} [attributes] `class`, `data-*`, ...; true gives an empty attribute
 * @param {...(Node|string)} children
 */
function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== false) node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...children);
  return node;
}

/** @param {State} state */
function glyph(state) {
  const node = make("span", { class: "ann-glyph", "data-state": state });
  node.innerHTML = `<svg viewBox="0 0 20 20" aria-hidden="true">${GLYPHS[state]}</svg>`; // constants only
  return node;
}

/** @param {number} n */
function grouped(n) {
  return Math.max(0, n).toLocaleString("en-US");
}

/** "1 picture", "2 pictures". */
function count(n, one, many = `${one}s`) {
  return `${grouped(n)} ${n === 1 ? one : many}`;
}

/** @param {number} p probability; never rounded to a certainty the model does not have */
function percent(p) {
  if (p < 0.01) return "<1 %";
  if (p > 0.99) return ">99 %";
  return `${Math.round(p * 100)} %`;
}

/** "just now", "4 min ago": for times in the past. @param {number} ms */
function ago(ms) {
  const minutes = Math.round(ms / 60000);
  if (minutes < 1) return "just now";
  if (minutes < 60) return `${minutes} min ago`;
  if (minutes < 48 * 60) return `${Math.round(minutes / 60)} h ago`;
  return `${Math.round(minutes / 1440)} days ago`;
}

/** A random id that also works where the page is served without TLS (there `randomUUID` is missing). */
function freshId() {
  if (crypto.randomUUID) return crypto.randomUUID();
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 15) | 64;
  bytes[8] = (bytes[8] & 63) | 128;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

/** What the browser remembers. It may be forbidden or full: then it says so and nothing is remembered. */
const memory = {
  get(key, kind = "localStorage") {
    return this.attempt(() => window[kind].getItem(key), null);
  },
  /** @returns {boolean} whether it is kept */
  set(key, value, kind = "localStorage") {
    return this.attempt(() => window[kind].setItem(key, value) === undefined, false);
  },
  remove(key) {
    return this.attempt(() => window.localStorage.removeItem(key) === undefined, false);
  },
  keys() {
    return this.attempt(() => Array.from({ length: localStorage.length }, (_, i) => localStorage.key(i)), []);
  },
  attempt(work, otherwise) {
    try {
      return work();
    } catch (error) {
      if (error instanceof DOMException) return otherwise; // SecurityError, QuotaExceededError
      throw error;
    }
  },
};

/** The project this window works on; a new window begins with the one used last. */
const chosenProject = {
  key: "annotator:project",
  get() {
    return Number(memory.get(this.key, "sessionStorage") || memory.get(this.key)) || null;
  },
  set(id) {
    memory.set(this.key, String(id), "sessionStorage");
    memory.set(this.key, String(id));
  },
};
