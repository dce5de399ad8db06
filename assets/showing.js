/* How the People tab shows things: tables, buttons that ask once more, secrets that are shown once. */

/** @param {string} label @param {string[]} heads @param {Node[][]} rows */
function table(label, heads, rows) {
  const head = make("tr", {}, ...heads.map((text) => make("th", { scope: "col" }, text)));
  const body = rows.map((cells) => make("tr", {}, ...cells.map((cell) => make("td", {}, cell))));
  return make("table", { "aria-label": label }, make("thead", {}, head), make("tbody", {}, ...body));
}

/** A button; its work is done when it is pressed. @param {() => Promise<void>} work */
function pressed(words, work, label = null) {
  const button = make("button", { type: "button", "aria-label": label }, words);
  button.addEventListener("click", work);
  return button;
}

/** A button for what cannot be taken back by the next click: the first press asks, the second does it. */
function confirmed(words, question, work, label = null) {
  const button = pressed(words, () => {
    if (button.dataset.asks) return work();
    button.dataset.asks = "true";
    button.textContent = question;
    button.removeAttribute("aria-label");
    return undefined;
  }, label);
  button.addEventListener("blur", () => {
    delete button.dataset.asks;
    button.textContent = words;
    if (label) button.setAttribute("aria-label", label);
  });
  return button;
}

/** @param {string|null} chosen */
function roleSelect(chosen, label) {
  const options = ROLES.map((role) => make("option", { value: role, selected: role === chosen }, role));
  return make("select", { "aria-label": label }, ...options);
}

/** Date and time as people here write them. @param {number} ms */
function moment(ms) {
  return new Date(ms).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
}

/** @param {number} ms */
function day(ms) {
  return new Date(ms).toLocaleDateString(undefined, { dateStyle: "medium" });
}

/** A secret that the server tells once: shown with a copy button until the person has it. */
function showOnce(place, title, secret, note) {
  const field = make("input", { readonly: true, value: secret, "aria-label": title, spellcheck: "false" });
  const copy = pressed("Copy", async () => {
    copy.textContent = (await copied(field)) ? "Copied" : "Select it and copy by hand";
  });
  const done = pressed("Done", () => place.replaceChildren());
  field.addEventListener("focus", () => field.select());
  const line = make("div", { class: "ppl-line" }, field, copy, done);
  place.replaceChildren(make("div", { class: "ppl-once" }, make("b", {}, title), line, make("p", {}, note)));
  copy.focus();
}

/** The clipboard of a page without TLS is closed; the older way still works there. */
async function copied(field) {
  if (navigator.clipboard) {
    try {
      await navigator.clipboard.writeText(field.value);
      return true;
    } catch (error) {
      if (!(error instanceof DOMException)) throw error;
    }
  }
  field.select();
  return document.execCommand("copy");
}

/** A form whose values go to `work`; the browser's own sending is off. */
function onSubmit(form, work) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    work(Object.fromEntries(new FormData(form)));
  });
}

/** The answers of a project as files; an export is offered before a project goes away. */
function exports(one) {
  const file = (kind, words) =>
    make("a", {
      href: `/api/projects/${one.id}/export/${kind}`, download: true, "aria-label": `${words} of ${one.name}`,
    }, words);
  return make("span", { class: "ppl-exports" }, "Export ", file("coco", "COCO"), " ", file("csv", "CSV"));
}

/**
 * A form that takes the name of a project, typed, before it goes away; until it is the name nothing can be sent.
 * @param {string} words of the button @param {string} label of the field
 * @param {{keep: () => void, send: (name: string) => Promise<void>}} then
 */
function typedName(one, words, label, then) {
  const field = { name: "name", required: true, autocomplete: "off", placeholder: "type its name" };
  const typed = make("input", { ...field, "aria-label": label });
  const send = make("button", { disabled: true }, words);
  const form = make("form", { class: "ppl-buttons" }, exports(one), typed, send);
  const said = () => typed.value.normalize("NFC").trim();
  typed.addEventListener("input", () => {
    send.disabled = said() !== one.name;
  });
  form.append(pressed("Keep it", then.keep));
  onSubmit(form, () => then.send(said()));
  return form;
}
