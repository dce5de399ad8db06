/* The right panel: ranked candidates, what is answered already, and the pictures a probability rests on. */
const BASIS = {
  "model+neighbours+context": "model + neighbours + this picture's answers",
  "model+neighbours": "model + neighbours",
  "model+context": "model + this picture's answers",
  model: "model",
  neighbours: "neighbours",
  prior: "share of yes so far",
};
const THUMBS = 3;
const UNRANKED = 12; // the list is filled up to so many rows with categories that nothing ranks yet
const LIKELY = 0.5; // a category that was not listed joins the list when an answer makes it more likely than not
const MOVED_MS = 2200; // so long a number that moved is marked
const READABLE_MS = 1000; // "none of the rest" speaks for a row only after it was there so long
const BLIND = "Asked without a suggestion, so that the rest can be trusted.";

class Candidates {
  /** @param {Object<string, HTMLElement>} parts @param {(id: number) => void} onFocus */
  constructor(parts, onFocus) {
    this.parts = parts;
    this.loaded = null;
    this.blind = null; // the one category that is asked without a suggestion
    this.rows = new Map();
    this.arrivals = new Map();
    this.chips = new Map();
    this.focused = null;
    this.candidates = [];
    this.categories = new Map();
    this.looking = false; // a viewer: nothing can be answered
    this.former = new Map(); // archived while they were on screen
    parts.list.addEventListener("click", (event) => this.clicked(event, onFocus));
    parts.decided.addEventListener("click", (event) => this.clicked(event, onFocus));
  }

  clicked(event, onFocus) {
    const button = event.target.closest("[data-category]");
    if (button) onFocus(Number(button.dataset.category));
  }

  /**
   * @param {Loaded} loaded @param {Map<number, {name: string}>} categories @param {Question} question
   * @param {Set<number>} withheld categories of the picture that are asked another time, without a suggestion
   */
  show(loaded, categories, question, withheld) {
    this.loaded = loaded;
    this.categories = categories;
    this.withheld = withheld;
    this.blind = question.blind ? question.category_id : null;
    this.candidates = this.blind === null ? this.listed(question.category_id) : [unrankedOne(this.blind)];
    this.rows = new Map();
    this.arrivals = new Map();
    this.parts.list.replaceChildren();
    for (const candidate of this.candidates) this.place(candidate);
    this.parts.scroll.scrollTop = 0;
    this.focused = null;
    this.drawDecided();
    this.showNote(loaded.note);
  }

  /** Ranked candidates, then unranked open categories, then the asked category when it is in neither. */
  listed(asked) {
    const { loaded, categories, withheld } = this;
    const known = loaded.candidates.filter((one) => categories.has(one.category_id) && !withheld.has(one.category_id));
    this.ranked = known.length > 0;
    const list = [...known, ...unranked(loaded, categories, known, withheld)];
    const missing = categories.has(asked) && this.state(asked) === "unknown";
    if (missing && !list.some((one) => one.category_id === asked)) list.push(unrankedOne(asked));
    return list;
  }

  /** One more row at the end of the list. */
  place(candidate) {
    const row = this.row(candidate);
    this.rows.set(candidate.category_id, row);
    this.parts.list.append(make("li", {}, row));
  }

  /** Newer numbers for the same picture: every row keeps its place. @param {object} item as `Deck.item` gives it */
  move(item) {
    const { loaded } = this;
    for (const fresh of item.candidates) {
      const id = fresh.category_id;
      if (!this.categories.has(id) || this.state(id) !== "unknown") continue; // answered: the number seen then stays
      const held = this.candidate(id);
      if (!held && (fresh.p < LIKELY || this.withheld.has(id))) continue;
      if (!loaded.candidates.some((one) => one.category_id === id)) loaded.candidates.push(held || fresh);
      if (held) this.moveOne(held, fresh);
      else this.arrive(fresh);
    }
    this.ranked = this.ranked || item.candidates.length > 0;
    loaded.note = item.note;
    this.showNote(loaded.note);
    if (this.focused !== null) this.showEvidence(this.focused);
  }

  moveOne(held, fresh) {
    const before = chanceOf(held);
    Object.assign(held, fresh);
    const row = this.rows.get(held.category_id);
    this.fill(row, held);
    this.paint(row, held.category_id);
    const now = chanceOf(held);
    if (now !== before) mark(row, before ? `${before}, now ${now}` : `now ${now}`);
  }

  arrive(fresh) {
    this.candidates.push(fresh);
    this.place(fresh);
    this.arrivals.set(fresh.category_id, performance.now());
    if (this.focused === fresh.category_id) this.outline(this.focused); // it was among the answered ones
    mark(this.rows.get(fresh.category_id), "new in this list");
  }

  /** Names may change while a picture is on screen; what was archived meanwhile keeps its row. */
  renamed(categories) {
    for (const [id, one] of this.categories) if (!categories.has(id)) this.former.set(id, one);
    this.categories = categories;
    for (const [id, button] of [...this.rows, ...this.chips]) {
      const name = this.nameOf(id);
      const words = button.querySelector(".ann-words b") || button.lastElementChild;
      if (words.textContent === name) continue;
      words.textContent = name;
      if (button.title) button.title = name;
      this.paint(button, id);
    }
  }

  /** Name of a category, also of one that was archived while it was on screen. */
  nameOf(id) {
    const known = this.categories.get(id) || this.former.get(id);
    return known ? known.name : `category ${id}`;
  }

  clear() {
    this.loaded = null;
    this.blind = null;
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
    if (this.blind !== null) text = BLIND;
    if (this.looking) text = LOOKING;
    const words = empty && !this.looking ? "There are no categories yet. Press C to add the first one." : text;
    this.parts.note.hidden = !words;
    this.parts.note.textContent = words || "";
    if (this.loaded && !empty && !this.ranked && words && this.blind === null && !this.looking) {
      this.parts.note.append(make("br"), "Y, N and U answer the outlined category.");
    }
  }

  row(candidate) {
    const id = candidate.category_id;
    const { name } = this.categories.get(id);
    const row = make("button", { type: "button", class: "ann-row", "data-category": id, title: name });
    const words = make("span", { class: "ann-words" }, make("b", {}, name), make("small", {}));
    const chance = make("span", { class: "ann-percent" });
    const meter = make("span", { class: "ann-meter" });
    row.append(
      make("span", { class: "ann-state" }),
      words,
      make("span", { class: "ann-chance" }, chance, meter),
      make("span", { class: "ann-thumbs" }),
    );
    this.fill(row, candidate);
    this.paint(row, id);
    return row;
  }

  /** The number of a row and what it rests on. */
  fill(row, candidate) {
    const basis = row.querySelector("small");
    basis.textContent = basis.title = this.blind === null ? basisOf(candidate) : "";
    row.querySelector(".ann-percent").textContent = chanceOf(candidate);
    const meter = row.querySelector(".ann-meter");
    if (candidate.p !== null) {
      if (!meter.firstChild) meter.append(make("i"));
      meter.firstChild.style.width = `${Math.max(1, candidate.p * 100)}%`;
    }
    const thumbs = row.querySelector(".ann-thumbs");
    const alike = nearest(candidate, "positive");
    const drawn = [...thumbs.children];
    const same = alike.length === drawn.length && alike.every((one, i) => drawn[i].src.endsWith(one.thumb));
    if (!same) thumbs.replaceChildren(...alike.map(thumb));
  }

  paint(button, id) {
    const state = this.state(id);
    button.dataset.state = state;
    button.querySelector(".ann-state").replaceChildren(glyph(state));
    const candidate = this.candidate(id);
    const chance = candidate && candidate.p !== null ? `, ${chanceOf(candidate)}` : "";
    button.setAttribute("aria-label", `${this.nameOf(id)}${chance}, ${STATES[state].answer}`);
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

  /** Open candidates that were there long enough to be read. */
  readable() {
    const now = performance.now();
    return this.open().filter((id) => now - (this.arrivals.get(id) ?? -READABLE_MS) >= READABLE_MS);
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
    if (this.blind !== null) return this.parts.evidence.replaceChildren();
    const candidate = this.candidate(id);
    const sides = ["positive", "negative"].map((state) => [state, candidate ? nearest(candidate, state) : []]);
    const groups = sides.map(([state, found]) => {
      const title = make("span", { class: "ann-side" }, glyph(state), `Most alike with ${STATES[state].answer}`);
      const shown = found.map(thumb);
      const none = make("span", { class: "ann-none" }, "none known yet");
      return make("div", {}, title, make("span", { class: "ann-thumbs" }, ...(shown.length ? shown : [none])));
    });
    return this.parts.evidence.replaceChildren(...groups);
  }
}

/** A category that nothing ranks yet. */
function unrankedOne(id) {
  return { category_id: id, p: null, basis: "", known: 0, evidence: [] };
}

/** "62 %", or nothing where there is no suggestion. */
function chanceOf(candidate) {
  return candidate.p === null ? "" : percent(candidate.p);
}

/** Mark the number of a row for a moment; the words say by how much it moved. */
function mark(row, words) {
  const chance = row.querySelector(".ann-chance");
  chance.title = words;
  chance.dataset.moved = "true";
  clearTimeout(Number(chance.dataset.timer));
  chance.dataset.timer = String(setTimeout(() => delete chance.dataset.moved, MOVED_MS));
}

/** Open categories that nothing ranks yet, by position: they fill the list, so that keys answer them too. */
function unranked(loaded, categories, ranked, withheld) {
  const taken = new Set([...withheld, ...ranked.map((candidate) => candidate.category_id)]);
  const open = [...categories.keys()].filter(
    (id) => !taken.has(id) && (loaded.cells.get(id) || "unknown") === "unknown",
  );
  const places = Math.max(0, UNRANKED - ranked.length);
  return open.slice(0, places).map(unrankedOne);
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
  return smallPicture(evidence.thumb, { title });
}
