/* In which order is asked, why this question, and what the server proposes to do instead. */
const ORDER_KEY = "annotator:order:";

class OrderBar {
  /** @param {Object<string, HTMLElement>} parts @param {{chosen: (strategy: string) => void}} door */
  constructor(parts, door) {
    this.parts = parts;
    this.drawn = "";
    this.proposal = null;
    parts.order.addEventListener("change", () => {
      parts.order.blur(); // the keys belong to the picture again
      this.remember(parts.order.value);
      door.chosen(parts.order.value);
    });
  }

  /** @param {number} projectId @returns {string|null} the order this person chose last in the project */
  recall(projectId) {
    this.projectId = projectId;
    return memory.get(ORDER_KEY + projectId);
  }

  remember(strategy) {
    memory.set(ORDER_KEY + this.projectId, strategy);
  }

  /** @param {Deck} deck */
  show(deck) {
    const { strategies, proposal, strategy } = deck.answer;
    const drawn = JSON.stringify(strategies);
    if (drawn !== this.drawn) {
      this.drawn = drawn; // an open list is not taken away
      const options = strategies.map((one) => make("option", { value: one.name }, one.words));
      this.parts.order.replaceChildren(...options);
    }
    this.parts.order.value = deck.strategy || strategy;
    const [chosen] = this.parts.order.selectedOptions;
    this.parts["order-field"].hidden = !chosen; // without pictures there is nothing to order
    this.parts.order.title = chosen ? chosen.textContent : "";
    this.proposal = proposal && proposal.mode === "grid" && proposal.category_id !== null ? proposal : null;
    this.parts.proposal.hidden = !this.proposal;
    this.parts.proposal.textContent = this.proposal ? this.proposal.words : "";
    this.parts.proposal.title = this.parts.proposal.textContent;
  }

  /** @param {Question|null} question */
  why(question) {
    this.parts.why.textContent = question ? question.why : "";
    this.parts.why.title = this.parts.why.textContent;
  }
}
