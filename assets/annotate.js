/* The annotate surface: what the keys do. Everything it draws is drawn by the parts it owns. */
class Surface {
  /** @param {HTMLElement} root */
  constructor(root) {
    this.root = root;
    this.parts = {};
    for (const node of root.querySelectorAll("[data-part]")) this.parts[node.dataset.part] = node;
    this.categories = new Map();
    this.api = null;
    this.deck = null;
    this.loaded = null; // what is on screen; null while a picture is on its way
    this.undoable = [];
    this.turn = 0; // counts requests to show something, so that a late one is dropped
    this.outbox = new Outbox({ onChange: () => this.drawSaved(), onRefused: (one) => this.reload(one.image_id) });
    this.status = new StatusLine(this.parts, this.outbox, (id) => this.categories.get(id));
    this.viewer = new Viewer(this.parts.stage, this.parts.canvas);
    this.heat = new HeatMap(this.viewer, this.parts.badge, root.querySelector('[data-action="heat"]'));
    this.panel = new Candidates(this.parts, (id) => this.focus(id));
    this.finder = new TypeAhead(this.parts, {
      categories: () => this.categories,
      state: (id) => this.panel.state(id),
      answer: (id, state) => this.answerNamed(id, state),
      create: (name, state) => this.attempt(() => this.addCategory(name, state)),
    });
    fillSheet(this.parts.sheet);
    this.actions = actionsOf(this);
    this.listen();
    this.drawSaved();
    this.outbox.flush();
  }

  listen() {
    this.root.addEventListener("click", (event) => this.onClick(event));
    this.onKeyDown = (event) => this.onKey(event);
    document.addEventListener("keydown", this.onKeyDown, true);
    this.parts.project.addEventListener("change", () => {
      this.parts.project.blur(); // the keys belong to the picture again
      this.attempt(() => this.open(Number(this.parts.project.value)));
    });
    addEventListener("resize", () => this.layOut());
    document.addEventListener("visibilitychange", () => this.tick());
    // Gradio keeps the surface mounted behind other tabs; what they changed is read when it is shown again.
    new IntersectionObserver((seen) => this.onShown(seen.at(-1).isIntersecting)).observe(this.root);
  }

  get visible() {
    return this.root.offsetParent !== null;
  }

  onShown(shown) {
    if (!shown) return;
    this.layOut();
    this.attempt(() => this.start());
  }

  layOut() {
    if (!this.visible) return;
    const top = this.root.getBoundingClientRect().top + scrollY;
    this.root.style.setProperty("--ann-height", `${Math.max(540, innerHeight - top - 8)}px`);
  }

  onClick(event) {
    const button = event.target.closest("button");
    if (!button) return;
    if (button.dataset.discard) this.outbox.discard(button.dataset.discard);
    const action = this.actions[button.dataset.action];
    if (event.detail > 0) button.blur(); // pressed with the mouse: Enter stays "next picture"
    if (action) action();
  }

  onKey(event) {
    if (!this.visible) return;
    const action = actionOf(event);
    if (!action) return;
    event.preventDefault();
    event.stopPropagation();
    this.actions[action]();
  }

  /** Run something that asks the server; a failure becomes a sentence on the page. */
  async attempt(work) {
    try {
      await work();
    } catch (error) {
      if (!(error instanceof Refusal || error instanceof Unreachable)) throw error;
      this.say(error.message);
      if (!this.loaded) this.showMessage(`${error.message} Press → to try again.`);
    }
  }

  say(text) {
    this.parts.said.textContent = text;
  }

  showMessage(text) {
    this.viewer.clear();
    this.panel.clear();
    this.loaded = null;
    this.parts.message.textContent = text;
    this.parts.message.hidden = false;
    this.parts.name.textContent = "";
    this.parts.badge.hidden = true;
    this.drawVerdicts();
  }

  // ---- projects and pictures

  /** Also when the surface is shown again: another tab may have made projects, pictures and categories. */
  start() {
    if (!this.starting) {
      this.starting = this.readProjects().finally(() => {
        this.starting = null;
      });
    }
    return this.starting;
  }

  async readProjects() {
    const projects = await ask("/api/projects");
    const options = projects.map((one) => make("option", { value: one.id }, `${one.name} (${grouped(one.images)})`));
    this.parts.project.replaceChildren(...options);
    if (!projects.length) {
      this.showMessage("There is no project yet. Make one in the Import tab, or open the demo there.");
      return;
    }
    const address = this.api ? new URLSearchParams() : new URLSearchParams(location.search); // read once
    const wishes = [address.get("project"), chosenProject.get()].map(Number);
    const chosen = wishes.find((id) => projects.some((one) => one.id === id)) || projects[0].id;
    await this.open(chosen, Number(address.get("image")) || null);
  }

  async open(projectId, imageId = null) {
    const fresh = !this.api || this.api.id !== projectId;
    this.parts.project.value = String(projectId);
    chosenProject.set(projectId);
    if (fresh) {
      this.api = new ProjectApi(projectId);
      this.deck = new Deck(this.api, this.outbox);
      this.undoable = [];
      this.showMessage("Loading");
    }
    await Promise.all([this.readCategories(), this.refreshStatus(), this.deck.refresh()]);
    if (imageId) this.deck.jump(imageId);
    if (fresh || !this.loaded) await (imageId ? this.show(imageId) : this.goNext());
    else this.redraw();
  }

  /** Draw the panel again for the same picture; the focus stays. */
  redraw() {
    const focused = this.panel.focused;
    this.panel.show(this.loaded, this.categories);
    this.focus(focused ?? this.panel.open()[0] ?? null);
  }

  async readCategories() {
    const list = await this.api.categories();
    this.categories = new Map(list.map((one) => [one.id, one]));
    this.drawCategoryCount();
  }

  drawCategoryCount() {
    this.parts["category-count"].textContent = count(this.categories.size, "category", "categories");
  }

  async goNext() {
    if (!this.deck) return this.start();
    const turn = (this.turn += 1);
    const id = await this.deck.next();
    if (turn !== this.turn) return undefined;
    return id === null ? this.showEnd() : this.show(id);
  }

  async goPrevious() {
    const id = this.deck && this.deck.previous();
    if (id === null || id === undefined) this.say("This is the first picture of the session.");
    else await this.show(id);
  }

  showEnd() {
    const { images, unknown } = this.status.counts;
    this.loaded = null;
    if (!images) this.showMessage("This project has no pictures yet. Bring some in with the Import tab.");
    else if (!this.categories.size) this.showMessage("There are no categories yet. Press C to add the first one.");
    else if (unknown) this.showMessage(this.deck.note || "No picture is waiting. Press → to ask again.");
    else this.showMessage("Every cell of every picture is decided. Press ← to look back.");
  }

  /** @param {number} id */
  async show(id, focus = null) {
    const turn = (this.turn += 1);
    if (!this.loaded || this.loaded.image.id !== id) this.deck.dropStale(id);
    let loaded = this.deck.ready.get(id);
    if (!loaded) {
      this.loaded = null; // keys must not answer for the picture that is leaving
      this.root.dataset.loading = "true";
      loaded = await this.deck.load(id).finally(() => {
        if (turn === this.turn) delete this.root.dataset.loading;
      });
    }
    if (turn !== this.turn) return;
    if (loaded.candidates.some((one) => !this.categories.has(one.category_id))) await this.readCategories();
    this.draw(loaded, focus);
    this.deck.prefetch();
  }

  /** @param {Loaded} loaded */
  draw(loaded, focus) {
    delete this.root.dataset.loading;
    this.loaded = loaded;
    const { image } = loaded;
    this.parts.message.hidden = true;
    this.viewer.show(loaded.picture, image.width, image.height);
    this.panel.show(loaded, this.categories);
    const ahead = this.deck.remaining;
    const more = ahead ? `${grouped(ahead)} more waiting` : "last one waiting";
    this.parts.name.replaceChildren(make("b", {}, image.name), ` ${image.width} × ${image.height} · ${more}`);
    this.root.querySelector('[data-action="refresh"]').hidden = true;
    this.root.dataset.image = String(image.id);
    history.replaceState(history.state, "", `?project=${this.api.id}&image=${image.id}`);
    this.say(`${image.name}: ${count(this.panel.open().length, "open candidate")}.`);
    this.shownAt = performance.now();
    this.focus(focus ?? this.panel.open()[0] ?? this.panel.order()[0] ?? null);
  }

  /** The server knows better (refused, newer generation): read the picture again. */
  reload(imageId) {
    this.deck.forget(imageId);
    if (this.loaded && this.loaded.image.id === imageId) this.attempt(() => this.show(imageId, this.panel.focused));
  }

  // ---- focus and answers

  focus(id) {
    this.focusedAt = performance.now();
    if (id !== null) this.panel.focus(id);
    this.drawVerdicts();
    this.heat.follow(this.api, this.loaded, id === null ? null : this.categories.get(id));
  }

  drawVerdicts() {
    const id = this.panel.focused;
    for (const state of Object.keys(STATES)) {
      const button = this.root.querySelector(`[data-action="${state}"]`);
      button.setAttribute("aria-pressed", String(id !== null && this.panel.state(id) === state));
      button.disabled = id === null;
    }
    this.root.querySelector('[data-action="rest"]').disabled = !this.loaded || !this.panel.open().length;
    this.root.querySelector('[data-action="undo"]').disabled = !this.undoable.length;
  }

  step(by) {
    const ids = this.panel.order();
    if (!this.loaded || !ids.length) return;
    const at = ids.indexOf(this.panel.focused);
    this.focus(ids[Math.min(ids.length - 1, Math.max(0, at + by))]);
  }

  answerFocused(state) {
    const id = this.panel.focused;
    if (!this.loaded || id === null) return;
    this.decide([id], state, { source: "human" });
    const next = state === "unknown" ? id : this.panel.nextOpen(id) ?? id;
    this.focus(next);
    const name = (one) => this.categories.get(one).name;
    const done = next === id && state !== "unknown" ? "Every candidate shown is answered: → for the next picture." : "";
    this.say(`${name(id)}: ${STATES[state].answer}. ${next === id ? done : `Next: ${name(next)}.`}`);
  }

  answerNamed(id, state) {
    if (!this.loaded) return;
    const focused = this.panel.focused;
    this.decide([id], state, { source: "human" });
    // The focus stays with the open candidate it was on: the next key must not change this answer.
    this.focus(focused === id || focused === null ? this.panel.nextOpen(id) ?? id : focused);
    this.say(`${this.categories.get(id).name}: ${STATES[state].answer}.`);
  }

  noneOfTheRest() {
    const ids = this.loaded ? this.panel.open() : [];
    if (!ids.length) return;
    this.decide(ids, "negative", { source: "group" });
    this.focus(this.panel.focused);
    this.say(`No to ${count(ids.length, "category", "categories")}. Z takes all of it back.`);
  }

  /** @param {number[]} ids categories @param {State} state @param {{source: string}} how */
  decide(ids, state, { source }) {
    const changed = ids.filter((id) => this.panel.state(id) !== state);
    if (!changed.length) return;
    const now = performance.now();
    const since = source === "group" ? this.shownAt : Math.max(this.focusedAt, this.shownAt);
    const entries = changed.map((id) => {
      const candidate = this.panel.candidate(id);
      const shown = candidate && candidate.p !== null ? { score: candidate.p } : {};
      const decision = { source, mode: "image", shown_ms: Math.round(now - since), ...shown };
      if (this.loaded.generation !== null) decision.generation_id = this.loaded.generation;
      return { id, before: this.panel.state(id), op: this.send(id, state, decision) };
    });
    this.undoable.push({ image: this.loaded.image.id, entries });
  }

  /** Show the new state and put it into the outbox. @returns {string} operation id */
  send(id, state, more) {
    const before = this.panel.state(id);
    const decision = { op_id: freshId(), image_id: this.loaded.image.id, category_id: id, state, ...more };
    this.loaded.cells.set(id, state);
    this.outbox.add(this.api.id, decision);
    this.panel.update(id);
    this.status.moved(before, state);
    return decision.op_id;
  }

  async undo() {
    const last = this.undoable.at(-1);
    if (!last) return this.say("There is nothing left to undo.");
    const place = last.entries[0].id;
    if (!this.loaded || this.loaded.image.id !== last.image) await this.show(this.deck.jump(last.image), place);
    if (!this.loaded || this.loaded.image.id !== last.image || this.undoable.at(-1) !== last) return undefined;
    this.undoable.pop();
    for (const { id, before, op } of last.entries) this.send(id, before, { source: "human", mode: "image", undo_of: op });
    this.focus(place);
    const what = last.entries.length > 1 ? `${last.entries.length} answers` : this.categories.get(place).name;
    return this.say(`Taken back: ${what}.`);
  }

  /** @param {string} name @param {State|null} state answer for the picture on screen; null answers nothing */
  async addCategory(name, state) {
    const category = await this.api.addCategory(name);
    this.categories.set(category.id, category);
    this.drawCategoryCount();
    this.say(`Category “${category.name}” added. It is not asked anywhere yet.`);
    if (this.status.counts) this.status.counts.unknown += this.status.counts.images;
    if (state && this.loaded) return this.answerNamed(category.id, state);
    await this.refreshStatus();
    if (!this.loaded) return this.open(this.api.id);
    return this.redraw();
  }

  // ---- sheet and status

  toggleSheet() {
    const { sheet } = this.parts;
    if (sheet.open) sheet.close();
    else sheet.showModal();
  }

  drawSaved() {
    if (this.status) this.status.drawSaved();
  }

  async refreshStatus() {
    const before = this.outbox.waiting().length;
    const status = await this.api.status();
    if (this.status.counts && (before || this.outbox.waiting().length)) return; // our own numbers are ahead of the server's
    this.status.show(status);
    const generation = status.generation ? status.generation.id : null;
    if (this.deck.setGeneration(generation)) await this.onGeneration();
  }

  /** New suggestions: the order and what is loaded ahead are read again; the open picture waits for a key. */
  async onGeneration() {
    await this.deck.refresh();
    if (!this.loaded) return;
    this.deck.prefetch();
    if (!this.panel.ranked && !this.undoable.some((one) => one.image === this.loaded.image.id)) {
      this.reload(this.loaded.image.id);
    } else {
      this.root.querySelector('[data-action="refresh"]').hidden = false;
    }
  }

  /** Poll while somebody looks. */
  async tick() {
    clearTimeout(this.timer);
    if (!this.root.isConnected) return document.removeEventListener("keydown", this.onKeyDown, true);
    if (this.api && this.visible && document.visibilityState === "visible") {
      await this.refreshStatus().catch((error) => {
        if (!(error instanceof Refusal || error instanceof Unreachable)) throw error;
        this.parts.worker.textContent = error.message;
      });
    }
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.tick(), POLL_MS);
    return undefined;
  }
}

window.annotatorProject = chosenProject; // the other tabs of the page follow it
const surface = new Surface(element.querySelector("#annotate-surface"));
surface.tick();
