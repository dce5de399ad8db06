/* Two people, one cell: both answers side by side, and one key for each. It lies over the page and stops nothing. */
const CONFLICTS_SHOWN = 3;

class Conflicts {
  /**
   * @param {HTMLElement} part @param {Outbox} outbox
   * @param {{project: () => number|null, category: (id: number) => string, picture: (id: number) => string,
   *          mine: (entry: Entry) => void, theirs: (entry: Entry) => void}} door what a choice does
   */
  constructor(part, outbox, door) {
    this.part = part;
    this.outbox = outbox;
    this.door = door;
  }

  /** Open questions of the project on screen, oldest first. @returns {Entry[]} */
  open() {
    return this.outbox.contested().filter((entry) => entry.project === this.door.project());
  }

  draw() {
    const open = this.open();
    const elsewhere = this.outbox.contested().length - open.length;
    const lines = open.slice(0, CONFLICTS_SHOWN).map((entry, i) => this.line(entry, i === 0));
    const more = open.length - lines.length;
    if (more > 0) lines.push(make("p", { class: "ann-conflict-more" }, `and ${grouped(more)} more`));
    if (elsewhere > 0) lines.push(make("p", { class: "ann-conflict-more" }, `${grouped(elsewhere)} in other projects`));
    this.part.hidden = !lines.length;
    this.part.replaceChildren(...lines);
  }

  /** @param {Entry} entry @param {boolean} first the keys are for this one */
  line(entry, first) {
    const { image_id: image, category_id: category, state } = entry.decision;
    const { theirs, user, decided_at: at } = entry.conflict;
    const who = user || "Somebody";
    const words = make(
      "p",
      {},
      make("b", {}, this.door.category(category)),
      ` on ${this.door.picture(image)}`,
      make("br"),
      `${who}, ${ago(Date.now() - at)}: `,
      glyph(theirs),
      ` ${STATES[theirs].answer}. You: `,
      glyph(state),
      ` ${STATES[state].answer}.`,
    );
    const choice = (take, label, key) => {
      const button = make("button", { type: "button", "data-conflict": entry.key, "data-take": take }, label);
      if (first) button.append(" ", make("kbd", {}, key));
      return button;
    };
    const thumb = smallPicture(`/img/${image}?size=thumb`);
    return make(
      "div",
      { class: "ann-conflict" },
      thumb,
      words,
      choice("theirs", `Keep ${STATES[theirs].answer}`, "T"),
      choice("mine", `Use mine: ${STATES[state].answer}`, "I"),
    );
  }

  /** @param {"mine"|"theirs"} take @param {string} [key] of the entry; the first one without it */
  choose(take, key) {
    const entry = key ? this.outbox.find(key) : this.open()[0];
    if (!entry || !entry.conflict) return false;
    this.door[take](entry);
    return true;
  }
}
