/* Several people: two answers to one cell, sessions that end, another person in the same browser. */
const LOOKING = "You may look at this project; answering needs the role “annotator”.";

class Together {
  /** @param {Surface} surface with all its other parts */
  constructor(surface) {
    this.surface = surface;
    const { parts, outbox } = surface;
    this.conflicts = new Conflicts(parts.conflicts, outbox, {
      project: () => surface.api && surface.api.id,
      category: (id) => surface.nameOf(id),
      picture: (id) => surface.pictureName(id),
      mine: (entry) => this.insist(entry),
      theirs: (entry) => this.yield(entry),
    });
    this.signIn = new SignIn(parts.signin, {
      waiting: () => outbox.waiting().length,
      name: () => (outbox.person ? outbox.person.name : ""),
      done: () => surface.attempt(() => this.signedIn()),
    });
    session.onOut = () => this.signedOut();
    session.onBack = () => this.signIn.back();
  }

  // ---- two people, one cell

  /** Somebody else was first: that answer is shown; the person chooses when there is something to choose. */
  contested(entry, cell, open) {
    const { surface } = this;
    surface.answers.forgetCell(cell.image_id, cell.category_id);
    if (!surface.api || entry.project !== surface.api.id) return;
    const held = surface.deck.ready.get(cell.image_id);
    for (const loaded of new Set([held, surface.loaded])) {
      if (!loaded || loaded.image.id !== cell.image_id) continue;
      loaded.cells.set(cell.category_id, cell.theirs);
      loaded.seqs.set(cell.category_id, cell.seq);
      loaded.own.delete(cell.category_id);
    }
    surface.status.moved(cell.mine, cell.theirs);
    surface.asking.changed({ image: cell.image_id, category: cell.category_id }, cell.theirs);
    surface.grid.corrected(cell);
    const name = surface.nameOf(cell.category_id);
    const said = `${cell.user || "Somebody"} answered ${STATES[cell.theirs].answer} to ${name} meanwhile`;
    surface.say(open ? `${said}: T keeps that, I uses yours.` : `${said}; that stays.`);
  }

  /** @param {"mine"|"theirs"} take @param {string} [key] */
  choose(take, key) {
    if (!this.conflicts.choose(take, key)) this.surface.say("No answer waits for a choice.");
  }

  yield(entry) {
    const { surface } = this;
    surface.outbox.discard(entry.key);
    const { theirs } = entry.conflict;
    surface.say(`${surface.nameOf(entry.decision.category_id)}: ${STATES[theirs].answer} stays.`);
  }

  /** The person has seen both answers and wants the own one: a new answer on top of the newer one. */
  insist(entry) {
    const { surface } = this;
    const { image_id: image, category_id: category, state, after, undo_of, ...more } = entry.decision;
    const { theirs, seq } = entry.conflict;
    surface.outbox.discard(entry.key);
    const cell = { image, category, before: theirs, base: seq, own: undefined };
    surface.answers.send(cell, state, { ...more, op_id: freshId(), base_seq: seq });
    surface.say(`${surface.nameOf(category)}: ${STATES[state].answer}, instead of ${STATES[theirs].answer}.`);
  }

  // ---- who is signed in

  /** Whether the person has at least this role here; while nobody knows, the server decides. @param {string} role */
  reaches(role) {
    const { me } = this.surface.outbox;
    const { api } = this.surface;
    const known = me && api && me.roles[api.id];
    return !known || ROLES.indexOf(known) >= ROLES.indexOf(role);
  }

  /** A viewer is told at once, and nothing is kept for sending that the server would refuse. */
  mayAnswer() {
    if (this.reaches("annotator")) return true;
    this.surface.say(`${LOOKING} Load the page again if you have it now.`);
    return false;
  }

  signedOut() {
    this.surface.drawSaved();
    if (this.surface.visible) this.signIn.needed();
  }

  /** Signed in here: what waited is sent, and what could not be read is read. */
  async signedIn() {
    const { surface } = this;
    await surface.outbox.ask();
    this.signIn.back();
    surface.outbox.failures = 0;
    surface.outbox.flush();
    await surface.start();
  }

  /** Another person works in this browser now: nothing of the one before is shown or sent as theirs. */
  changePerson(me) {
    const { surface } = this;
    surface.answers.forget();
    surface.grid.close();
    surface.api = null;
    surface.deck = null;
    surface.showMessage("Loading");
    surface.say(`Signed in as ${me.name}.`);
    surface.attempt(() => surface.start());
  }
}
