/* The annotate surface: what the keys do. Everything it draws is drawn by the parts it owns. */
const NAMES_EVERY = 10; // looks at the server, half a minute: then the names of the categories are read again

class Surface {
  /** @param {HTMLElement} root */
  constructor(root) {
    this.root = root;
    this.parts = {};
    for (const node of root.querySelectorAll("[data-part]")) this.parts[node.dataset.part] = node;
    this.categories = new Map();
    this.api = null;
    this.deck = null;
    this.turn = 0; // counts requests to show something, so that a late one is dropped
    this.outbox = new Outbox({
      onChange: () => this.drawSaved(),
      onRefused: (one) => this.reload(one.image_id),
      onSaved: (saved) => this.live && this.live.saved(saved),
      onContested: (entry, cell, open) => this.together.contested(entry, cell, open),
      onPerson: (me) => this.together.changePerson(me),
    });
    this.build();
    fillSheet(this.parts.sheet);
    this.actions = actionsOf(this);
    this.listen();
    this.drawSaved();
    this.outbox.flush();
  }

  /** The parts, each with the few things it needs from here. */
  build() {
    const categories = () => this.categories;
    const api = () => this.api;
    const say = (text) => this.say(text);
    const reaches = (role) => this.together.reaches(role);
    this.status = new StatusLine(this.parts, this.outbox, (id) => this.categories.get(id));
    this.answers = new Answers(this.outbox, {
      project: () => this.api.id,
      may: () => this.together.mayAnswer(),
      changed: (cell, state, op) => this.changed(cell, state, op),
    });
    const { answers, status, outbox } = this;
    this.asking = new Asking(this.root, this.parts, {
      answers, status, categories, api, say, reaches, settled: () => this.attempt(() => this.goNext()),
    });
    this.grid = new Grid(this.parts, { answers, outbox, categories, api, say, drawn: () => this.drawMode() });
    this.finder = new TypeAhead(this.parts, {
      categories,
      state: (id) => this.asking.panel.state(id),
      answer: (id, state) => this.together.mayAnswer() && this.asking.answerNamed(id, state),
      create: (name, state) => this.attempt(() => this.addCategory(name, state)),
    });
    this.order = new OrderBar(this.parts, { chosen: (strategy) => this.attempt(() => this.reorder(strategy)) });
    this.together = new Together(this);
    this.categoryList = new CategoryList(this.parts.categories, { api, reaches, changed: () => this.readNames() });
    this.live = new Live({
      deck: () => this.deck,
      shown: () => (this.asking.blind ? null : this.loaded),
      moved: (item) => this.asking.panel.move(item),
    });
  }

  /** What is on screen; null while a picture is on its way. @returns {Loaded|null} */
  get loaded() {
    return this.asking.loaded;
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
    presence.onBack = () => this.tick();
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
    if (button.dataset.retry) this.outbox.retry(button.dataset.retry);
    if (button.dataset.take) this.together.choose(button.dataset.take, button.dataset.conflict);
    const action = this.actions[button.dataset.action];
    if (event.detail > 0) button.blur(); // pressed with the mouse: Enter stays "next picture"
    if (action) action();
  }

  onKey(event) {
    if (!this.visible) return;
    const action = actionOf(event, this.grid.isOpen ? GRID_KEYS : KEYS);
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
      if (!this.loaded && !this.grid.isOpen) this.showMessage(`${error.message} Press → to try again.`);
    }
  }

  say(text) {
    this.parts.said.textContent = text;
  }

  showMessage(text) {
    this.asking.clear(text);
    this.order.why(null);
    this.drawMode();
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
    const [me, projects] = await Promise.all([ask("/api/me"), ask("/api/projects")]);
    this.outbox.meet(me);
    this.outbox.flush();
    const options = projects.map((one) => make("option", { value: one.id }, `${one.name} (${grouped(one.images)})`));
    this.parts.project.replaceChildren(...options);
    if (!projects.length) {
      const make = "There is no project yet. Make one in the Import tab, or open the demo there.";
      this.showMessage(me.server_admin ? make : "You are in no project. Ask an admin of one for an invitation.");
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
      this.deck = new Deck(this.api, this.outbox, this.order.recall(projectId));
      this.answers.forget();
      this.grid.close();
      this.showMessage("Loading");
    }
    await Promise.all([this.readCategories(), this.refreshStatus(), this.readOrder()]);
    if (fresh || !this.loaded) await (imageId ? this.show(this.deck.jump(imageId)) : this.goNext());
    else this.asking.redraw();
  }

  async readOrder() {
    const { deck } = this;
    await deck.refresh();
    if (deck === this.deck) this.order.show(deck);
  }

  /** Ask in another order, from here on. @param {string} strategy */
  async reorder(strategy) {
    if (!this.deck) return;
    await this.deck.reorder(strategy);
    this.order.show(this.deck);
    if (this.grid.isOpen) this.grid.close();
    await this.goNext();
  }

  async readCategories() {
    const list = await this.api.categories();
    this.categories = new Map(list.map((one) => [one.id, one]));
    this.drawCategoryCount();
  }

  drawCategoryCount() {
    this.parts["category-count"].textContent = count(this.categories.size, "category", "categories");
  }

  /** The list may have changed elsewhere: names follow at once, rows of the open picture keep their place. */
  async readNames() {
    await this.readCategories();
    if (this.loaded) this.asking.panel.renamed(this.categories);
  }

  /** Name of a category, also of one that was archived meanwhile. */
  nameOf(id) {
    const known = this.categories.get(id);
    return known ? known.name : this.asking.panel.nameOf(id);
  }

  pictureName(id) {
    const loaded = this.deck && this.deck.ready.get(id);
    return loaded ? loaded.image.name : `picture ${id}`;
  }

  async goNext() {
    if (!this.deck) return this.start();
    const turn = (this.turn += 1);
    const question = await this.deck.next();
    if (turn !== this.turn) return undefined;
    return question === null ? this.showEnd() : this.show(question, null, { asking: true });
  }

  async goPrevious() {
    const question = this.deck && this.deck.previous();
    if (question) await this.show(question);
    else this.say("This is the first picture of the session.");
  }

  showEnd() {
    const { images, unknown } = this.status.counts;
    if (!images) this.showMessage("This project has no pictures yet. Bring some in with the Import tab.");
    else if (!this.categories.size) this.showMessage("There are no categories yet. Press C to add the first one.");
    else if (unknown) this.showMessage(this.deck.answer.note || "No picture is waiting. Press → to ask again.");
    else this.showMessage("Every cell of every picture is decided. Press ← to look back.");
  }

  /**
   * @param {Question} question @param {number|null} focus category @param {{asking?: boolean}} [how]
   *   asking: go on at once when a blind question needs no answer any more
   */
  async show(question, focus = null, { asking = false } = {}) {
    const turn = (this.turn += 1);
    const id = question.image_id;
    if (!this.loaded || this.loaded.image.id !== id) this.deck.dropStale(id);
    let loaded = this.deck.ready.get(id);
    if (!loaded) {
      this.asking.loaded = null; // keys must not answer for the picture that is leaving
      this.root.dataset.loading = "true";
      loaded = await this.deck.load(id).finally(() => {
        if (turn === this.turn) delete this.root.dataset.loading;
      });
    }
    if (turn !== this.turn) return undefined;
    const named = [...loaded.candidates.map((one) => one.category_id), question.category_id ?? []].flat();
    if (named.some((one) => !this.categories.has(one))) await this.readCategories();
    if (turn !== this.turn) return undefined;
    const gone = question.blind && !this.categories.has(question.category_id);
    if (gone || (asking && this.deck.settled(question, loaded))) {
      this.deck.drop();
      return this.goNext();
    }
    this.draw(loaded, question, focus);
    this.deck.prefetch();
    return undefined;
  }

  /** @param {Loaded} loaded @param {Question} question @param {number|null} focus */
  draw(loaded, question, focus) {
    delete this.root.dataset.loading;
    const { remaining } = this.deck;
    this.asking.draw(loaded, question, focus, { remaining, withheld: this.deck.withheld(loaded.image.id) });
    this.order.why(question);
    this.drawMode();
    history.replaceState(history.state, "", `?project=${this.api.id}&image=${loaded.image.id}`);
    if (loaded.stale) this.live.wake();
  }

  /** The server knows better (refused, newer generation): read the picture again. */
  reload(imageId) {
    this.deck.forget(imageId);
    if (!this.loaded || this.loaded.image.id !== imageId) return;
    this.attempt(() => this.show(this.asking.question, this.asking.panel.focused));
  }

  // ---- answers

  /** A cell has a new state, given here, on a grid, or taken back: show it wherever it is drawn. */
  changed(cell, state, op) {
    const held = this.deck.ready.get(cell.image);
    for (const loaded of new Set([held, this.loaded && this.loaded.image.id === cell.image ? this.loaded : null])) {
      if (loaded) {
        loaded.cells.set(cell.category, state);
        loaded.own.set(cell.category, op);
      }
    }
    this.asking.changed(cell, state);
    this.grid.changed(cell, state, op);
    this.status.moved(cell.before, state);
  }

  // ---- grid

  /** One category over many pictures. @param {number|null|undefined} categoryId */
  async openGrid(categoryId) {
    const proposed = this.order.proposal && this.order.proposal.category_id;
    const id = categoryId ?? proposed ?? [...this.categories.keys()][0];
    if (!this.api || id === undefined) return this.say("There are no categories yet. Press C to add the first one.");
    return this.grid.open(id);
  }

  /** Back to the picture; what the grid answered may have changed what is worth asking next. */
  async closeGrid() {
    this.grid.close();
    if (this.loaded) this.asking.redraw();
    await this.readOrder();
    if (!this.loaded) await this.goNext();
  }

  drawMode() {
    const mode = this.grid.isOpen ? "grid" : this.asking.blind ? "blind" : "image";
    this.root.dataset.mode = mode;
    this.parts.picture.hidden = mode === "grid";
    this.parts.grid.hidden = mode !== "grid";
    this.asking.drawVerdicts();
  }

  /** @param {string} name @param {State|null} state answer for the picture on screen; null answers nothing */
  async addCategory(name, state) {
    const category = await this.api.addCategory(name);
    this.categories.set(category.id, category);
    this.drawCategoryCount();
    this.say(`Category “${category.name}” added. It is not asked anywhere yet.`);
    if (this.status.counts) this.status.counts.unknown += this.status.counts.images;
    if (state && this.loaded) return this.asking.answerNamed(category.id, state);
    await this.refreshStatus();
    if (!this.loaded) return this.open(this.api.id);
    return this.asking.redraw();
  }

  // ---- sheet and status

  drawSaved() {
    if (this.status) this.status.drawSaved();
    if (this.together) this.together.conflicts.draw();
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
    await this.readOrder();
    if (!this.loaded) return;
    this.deck.prefetch();
    if (!this.asking.panel.ranked && !this.answers.touched(this.loaded.image.id)) {
      this.reload(this.loaded.image.id);
    } else {
      this.root.querySelector('[data-action="refresh"]').hidden = false;
    }
  }

  /** Poll while somebody looks, and more often while somebody works. */
  async tick() {
    clearTimeout(this.timer);
    if (!this.root.isConnected) return document.removeEventListener("keydown", this.onKeyDown, true);
    if (this.api && this.visible && document.visibilityState === "visible") {
      this.ticks = (this.ticks || 0) + 1;
      const work = this.ticks % NAMES_EVERY ? this.refreshStatus() : this.refreshStatus().then(() => this.readNames());
      await work.catch((error) => {
        if (!(error instanceof Refusal || error instanceof Unreachable)) throw error;
        this.status.lost(error.message);
      });
    }
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.tick(), presence.pollMs);
    return undefined;
  }
}

window.annotatorProject = chosenProject; // the other tabs of the page follow it
const surface = new Surface(element.querySelector("#annotate-surface"));
surface.tick();
