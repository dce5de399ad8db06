/* Links that can still be used: what for, by whom, until when, and a button that ends each. */
class Invitations {
  /**
   * @param {HTMLElement} place
   * @param {{attempt: Function, say: Function}} door
   * @param {string} title
   * @param {(one: object) => string} purpose what a link is for, in words
   */
  constructor(place, door, title, purpose) {
    Object.assign(this, { place, door, title, purpose });
  }

  /** Show those behind an address; none is no list at all. @param {string} address */
  async read(address) {
    this.address = address;
    const found = await ask(address);
    if (address !== this.address) return; // another project was chosen meanwhile
    const heads = ["For", "Made by", "Made", "Valid until", ""];
    const list = table(this.title, heads, found.map((one) => this.row(one)));
    this.place.replaceChildren(...(found.length ? [make("h4", {}, this.title), list] : []));
  }

  clear() {
    this.address = null;
    this.place.replaceChildren();
  }

  row(one) {
    const what = this.purpose(one);
    const state = one.counts ? "" : " (does not count now)";
    const cells = [`${what}${state}`, one.made_by.name, day(one.created_at), moment(one.expires_at)];
    const label = `Withdraw the invitation: ${what}, made ${moment(one.created_at)}`;
    return [
      ...cells.map((text) => make("span", {}, text)),
      confirmed("Withdraw", "Really withdraw?", () => this.withdraw(one), label),
    ];
  }

  withdraw(one) {
    const { address } = this;
    return this.door.attempt(async () => {
      const done = await ask(`${address}/${one.name}`, { method: "DELETE" });
      this.door.say(done.message);
    }, () => this.door.changed());
  }
}

/** What a link is for, where those of all projects stand together. */
function purposeOf({ grant, project, account }) {
  if (grant === "reset") return `new password of ${account}`;
  return project === null ? "administrator of this server" : `${grant} of ${project}`;
}
