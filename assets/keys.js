/* One table of keys: it drives the keyboard and is printed on the shortcut sheet. */

/** key as in KeyboardEvent.key -> action; letters work with and without Shift. */
const KEYS = [
  { keys: ["j", "ArrowDown"], shown: "J ↓", action: "down", words: "Next category", repeats: true },
  { keys: ["k", "ArrowUp"], shown: "K ↑", action: "up", words: "Previous category", repeats: true },
  { keys: ["y"], shown: "Y", action: "positive", words: "Yes, it is in the picture" },
  { keys: ["n"], shown: "N", action: "negative", words: "No, it is not" },
  { keys: ["u"], shown: "U", action: "unsure", words: "Unsure: looked, cannot tell" },
  { keys: ["Backspace"], shown: "⌫", action: "unknown", words: "Clear: back to not asked" },
  { keys: ["r"], shown: "R", action: "rest", words: "None of the rest shown: No to every open candidate" },
  { keys: ["z"], shown: "Z", action: "undo", words: "Undo, as often as you like" },
  { keys: ["ArrowRight", "Enter"], shown: "→ Enter", action: "next", words: "Next picture" },
  { keys: ["ArrowLeft"], shown: "←", action: "previous", words: "Previous picture" },
  { keys: ["/"], shown: "/", action: "find", words: "Find any category: Enter yes, Shift Enter no, Ctrl Enter unsure" },
  { keys: ["c"], shown: "C", action: "add", words: "Add a category" },
  { keys: ["h"], shown: "H", action: "heat", words: "Heat map: where the model looked for the outlined category" },
  { keys: ["g"], shown: "G", action: "refresh", words: "Take newer suggestions for this picture" },
  { keys: ["0"], shown: "0", action: "zoom-reset", words: "Fit the picture" },
  { keys: ["+", "="], shown: "+", action: "zoom-in", words: "Zoom in, or wheel; drag to move", repeats: true },
  { keys: ["-"], shown: "−", action: "zoom-out", words: "Zoom out", repeats: true },
  { keys: ["?"], shown: "?", action: "sheet", words: "This sheet" },
];

const BY_KEY = new Map(KEYS.flatMap((row) => row.keys.map((key) => [key, row])));
const EDITABLE = "input, textarea, select, [contenteditable=''], [contenteditable='true']";
const PRESSABLE = "button, a[href], summary, [role='tab']";

/**
 * The action a key event asks for, or null when the key belongs to somebody else.
 * @param {KeyboardEvent} event
 */
function actionOf(event) {
  if (event.defaultPrevented || event.isComposing || event.ctrlKey || event.metaKey || event.altKey) return null;
  const target = event.target instanceof Element ? event.target : document.body;
  if (target.closest(EDITABLE) || document.querySelector("dialog[open]")) return null;
  if (event.key === "Enter" && target.closest(PRESSABLE)) return null; // it presses that button
  const row = BY_KEY.get(event.key.length === 1 ? event.key.toLowerCase() : event.key);
  if (!row || (event.repeat && !row.repeats)) return null;
  return row.action;
}

/** @param {HTMLDialogElement} dialog */
function fillSheet(dialog) {
  const rows = KEYS.map((row) => {
    const caps = row.shown.split(" ").map((cap) => make("kbd", {}, cap));
    return make("tr", {}, make("th", { scope: "row" }, ...caps), make("td", {}, row.words));
  });
  const legend = Object.entries(STATES).map(([state, words]) => make("li", {}, glyph(state), words.answer));
  const close = make("button", { type: "button", "data-action": "sheet" }, "Close", make("kbd", {}, "Esc"));
  dialog.replaceChildren(
    make("h2", {}, "Keys"),
    make("table", {}, make("tbody", {}, ...rows)),
    make("ul", { class: "ann-totals" }, ...legend),
    make("p", {}, "A cell nobody answered is not asked. It is never counted as no."),
    close,
  );
}

/** What every action of the table does. @param {Surface} surface */
function actionsOf(surface) {
  const answer = (state) => () => surface.answerFocused(state);
  return {
    positive: answer("positive"), negative: answer("negative"), unsure: answer("unsure"), unknown: answer("unknown"),
    down: () => surface.step(1), up: () => surface.step(-1),
    next: () => surface.attempt(() => surface.goNext()), previous: () => surface.attempt(() => surface.goPrevious()),
    rest: () => surface.noneOfTheRest(), undo: () => surface.attempt(() => surface.undo()),
    find: () => surface.finder.open(), add: () => surface.finder.open({ adding: true }),
    heat: () => surface.heat.toggle(), refresh: () => surface.loaded && surface.reload(surface.loaded.image.id),
    "zoom-reset": () => surface.viewer.reset(), "zoom-in": () => surface.viewer.zoom(ZOOM_STEP),
    "zoom-out": () => surface.viewer.zoom(1 / ZOOM_STEP), sheet: () => surface.toggleSheet(),
  };
}
