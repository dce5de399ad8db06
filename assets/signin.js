/* Signing in again where one is: the answers that wait are sent afterwards, under the name of who gave them. */
class SignIn {
  /**
   * @param {HTMLDialogElement} dialog
   * @param {{waiting: () => number, name: () => string, done: () => Promise<void>}} door
   */
  constructor(dialog, door) {
    this.dialog = dialog;
    this.door = door;
    this.putOff = false; // the person closed it: the status line offers it again
    this.words = make("p", { class: "ann-signin-words" });
    this.alert = make("p", { role: "alert", hidden: true });
    this.name = make("input", { name: "name", autocomplete: "username", required: true, maxlength: 200 });
    const password = { name: "password", type: "password", autocomplete: "current-password", required: true };
    this.password = make("input", { ...password, maxlength: 2000 });
    this.submit = make("button", {}, "Sign in");
    const later = make("button", { type: "button" }, "Later", make("kbd", {}, "Esc"));
    later.addEventListener("click", () => {
      this.putOff = true;
      dialog.close();
    });
    this.form = make(
      "form",
      { method: "post", action: "/login" },
      make("label", {}, "Name", this.name),
      make("label", {}, "Password", this.password),
      this.alert,
      make("div", { class: "ann-signin-buttons" }, later, this.submit),
    );
    dialog.replaceChildren(make("h2", {}, "Sign in again"), this.words, this.form);
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.send();
    });
    // Not on "close": that comes a moment later, and a request refused in between would open it again.
    dialog.addEventListener("cancel", (event) => {
      event.preventDefault(); // closed here and now, so that the next key is an answer again
      this.putOff = true;
      dialog.close();
      if (dialog.contains(document.activeElement)) document.activeElement.blur();
    });
  }

  /** The server does not know who asks; asked for once, then only when the person wants it. */
  needed() {
    if (!this.putOff) this.open();
  }

  open() {
    if (this.dialog.open) return;
    const waiting = this.door.waiting();
    const kept = waiting ? `${count(waiting, "answer")} kept on this computer will be sent afterwards.` : "";
    this.words.textContent = `You are signed out. Nothing is lost. ${kept}`;
    this.say("");
    this.password.value = "";
    if (!this.name.value) this.name.value = this.door.name();
    this.dialog.showModal();
    (this.name.value ? this.password : this.name).focus();
  }

  /** Somebody signed in, here or in another tab. */
  back() {
    this.putOff = false;
    if (this.dialog.open) this.dialog.close();
  }

  say(text) {
    this.alert.textContent = text;
    this.alert.hidden = !text;
  }

  async send() {
    this.submit.disabled = true;
    this.say("");
    try {
      this.say(await signInAs(this.name.value, this.password.value));
    } finally {
      this.submit.disabled = false;
      this.password.value = "";
    }
    if (this.alert.hidden) await this.door.done();
    else this.password.focus();
  }
}

/** @returns {Promise<string>} why not; empty when the session is open */
async function signInAs(name, password) {
  const body = new URLSearchParams({ name, password });
  const options = { method: "POST", body, redirect: "manual", headers: { Accept: "text/html" } };
  let response;
  try {
    response = await fetch("/login", options);
  } catch (error) {
    return "The server cannot be reached.";
  }
  if (response.type === "opaqueredirect") return ""; // the way to the page is open
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  const alert = page.querySelector("[role=alert]");
  return (alert && alert.textContent) || `The server refused with ${response.status}.`;
}
