/* The right panel: ranked candidates, what is answered already, and the pictures a probability rests on. */
const BASIS = {
  "model+neighbours": "model + neighbours",
  model: "model",
  neighbours: "neighbours",
  prior: "share of yes so far",
};
const THUMBS = 3;
const UNRANKED = 12; // the list is filled up to so many rows with categories that nothing ranks yet

class Candidates {
  /** @param {Object<string, HTMLElement>} parts @param {(id: number) => void} onFocus */
  constructor(parts, onFocus) {
    this.parts = parts;
    this.loaded = null;
    this.rows = new Map();
    this.chips = new Map();
    this.focused = null;
    this.candidates = [];
    parts.list.addEventListener("click", (event) => this.clicked(event, onFocus));
    parts.decided.addEventListener("click", (event) => this.clicked(event, onFocus));
  }

  clicked(event, onFocus) {
    const button = event.target.closest("[data-category]");
    if (button) onFocus(Number(button.dataset.category));
  }

  /** @param {Loaded} loaded @param {Map<number, {name: string}>} categories */
  show(loaded, categories) {
    this.loaded = loaded;
    this.categories = categories;
    const known = loaded.candidates.filter((candidate) => categories.has(candidate.category_id));
    this.ranked = known.length > 0;
    this.candidates = [...known, ...unranked(loaded, categories, known)];
    this.rows = new Map(this.candidates.map((candidate) => [candidate.category_id, this.row(candidate)]));
    this.parts.list.replaceChildren(...[...this.rows.values()].map((row) => make("li", {}, row)));
    this.parts.scroll.scrollTop = 0;
    this.focused = null;
    this.drawDecided();
    this.showNote(loaded.note);
  }

  clear() {
    this.loaded = null;
    this.candidates = [];
    this.rows.clear();
    this.chips.clear();
    this.focused = null;
    for (const part of ["list", "decided", "evidence"]) this.parts[part].replaceChildren();
    this.parts["decided-title"].textContent = "Answered on this picture";
    this.showNote("");
  }

  showNote(text) {
    const empty = this.loaded && !this.categories.size;
    const words = empty ? "There are no categories yet. Press C to add the first one." : text;
    this.parts.note.hidden = !words;
    this.parts.note.textContent = words || "";
    if (this.loaded && !empty && !this.ranked && words) {
      this.parts.note.append(make("br"), "Y, N and U answer the outlined category.");
    }
  }

  row(candidate) {
    const { category_id: id, p } = candidate;
    const name = this.categories.get(id).name;
    const row = make("button", { type: "button", class: "ann-row", "data-category": id, title: name });
    const words = make("span", { class: "ann-words" }, make("b", {}, name), make("small", {}, basisOf(candidate)));
    const meter = make("span", { class: "ann-meter" });
    if (p !== null) {
      const bar = make("i");
      bar.style.width = `${Math.max(1, p * 100)}%`;
      meter.append(bar);
    }
    const thumbs = make("span", { class: "ann-thumbs" });
    for (const one of nearest(candidate, "positive")) thumbs.append(thumb(one));
    const chance = make("span", { class: "ann-percent" }, p === null ? "" : percent(p));
    row.append(make("span", { class: "ann-state" }), words, make("span", { class: "ann-chance" }, chance, meter), thumbs);
    this.paint(row, id);
    return row;
  }

  paint(button, id) {
    const state = this.state(id);
    button.dataset.state = state;
    button.querySelector(".ann-state").replaceChildren(glyph(state));
    const candidate = this.candidate(id);
    const chance = candidate && candidate.p !== null ? `, ${percent(candidate.p)}` : "";
    button.setAttribute("aria-label", `${this.categories.get(id).name}${chance}, ${STATES[state].answer}`);
  }

  /** @returns {State} */
  state(id) {
    return (this.loaded && this.loaded.cells.get(id)) || "unknown";
  }

  candidate(id) {
    return this.candidates.find((one) => one.category_id === id);
  }

  /** One cell changed its state; nothing moves. */
  update(id) {
    const row = this.rows.get(id);
    if (row) this.paint(row, id);
    this.drawDecided();
  }

  drawDecided() {
    const order = ["positive", "unsure", "negative"];
    const decided = [...this.loaded.cells].filter(([id, state]) => state !== "unknown" && this.categories.has(id));
    const name = (id) => this.categories.get(id).name;
    decided.sort((a, b) => order.indexOf(a[1]) - order.indexOf(b[1]) || name(a[0]).localeCompare(name(b[0])));
    this.chips = new Map();
    const items = decided.map(([id]) => {
      const words = [make("span", { class: "ann-state" }), make("span", {}, name(id))];
      const chip = make("button", { type: "button", class: "ann-chip", "data-category": id }, ...words);
      this.paint(chip, id);
      this.chips.set(id, chip);
      return make("li", {}, chip);
    });
    this.parts.decided.replaceChildren(...items);
    const asked = `${decided.length} of ${this.categories.size}`;
    this.parts["decided-title"].textContent = `Answered on this picture: ${asked}`;
    if (this.focused !== null) this.outline(this.focused);
  }

  /** Ids that the focus walks over: the shown candidates, then the other answered cells. */
  order() {
    return [...this.rows.keys(), ...[...this.chips.keys()].filter((id) => !this.rows.has(id))];
  }

  /** Shown candidates that nobody has answered. */
  open() {
    return [...this.rows.keys()].filter((id) => this.state(id) === "unknown");
  }

  /** The next unanswered candidate after this one, from the top again at the end. */
  nextOpen(after) {
    const ids = [...this.rows.keys()];
    const from = ids.indexOf(after) + 1;
    return [...ids.slice(from), ...ids.slice(0, from)].find((id) => this.state(id) === "unknown") ?? null;
  }

  focus(id) {
    this.focused = id;
    this.outline(id);
    const target = this.rows.get(id) || this.chips.get(id);
    if (target) target.scrollIntoView({ block: "nearest" });
    this.showEvidence(id);
  }

  outline(id) {
    for (const [key, button] of [...this.rows, ...this.chips]) {
      if (key === id) button.setAttribute("aria-current", "true");
      else button.removeAttribute("aria-current");
    }
  }

  showEvidence(id) {
    const candidate = this.candidate(id);
    const sides = ["positive", "negative"].map((state) => [state, candidate ? nearest(candidate, state) : []]);
    const groups = sides.map(([state, found]) => {
      const title = make("span", { class: "ann-side" }, glyph(state), `Most alike with ${STATES[state].answer}`);
      const shown = found.map(thumb);
      const none = make("span", { class: "ann-none" }, "none known yet");
      return make("div", {}, title, make("span", { class: "ann-thumbs" }, ...(shown.length ? shown : [none])));
    });
    this.parts.evidence.replaceChildren(...groups);
  }
}

/** Open categories that nothing ranks yet, by position: they fill the list, so that keys answer them too. */
function unranked(loaded, categories, ranked) {
  const taken = new Set(ranked.map((candidate) => candidate.category_id));
  const open = [...categories.keys()].filter(
    (id) => !taken.has(id) && (loaded.cells.get(id) || "unknown") === "unknown",
  );
  const places = Math.max(0, UNRANKED - ranked.length);
  return open.slice(0, places).map((id) => ({ category_id: id, p: null, basis: "", known: 0, evidence: [] }));
}

/** What a probability rests on, in words. */
function basisOf(candidate) {
  if (candidate.p === null) return "no suggestion yet";
  const basis = BASIS[candidate.basis] || candidate.basis;
  return `${basis}, ${grouped(candidate.known)} known`;
}

function nearest(candidate, state) {
  return (candidate.evidence || []).filter((one) => one.state === state).slice(0, THUMBS);
}

function thumb(evidence) {
  const title = `Picture ${evidence.image_id}, similarity ${evidence.similarity.toFixed(2)}`;
  return make("img", { src: evidence.thumb, alt: "", title, decoding: "async", draggable: "false" });
}
