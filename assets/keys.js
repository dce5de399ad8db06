/* A table of keys for the picture and one for the grid: they drive the keyboard and are printed on the sheet. */

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
  { keys: ["m"], shown: "M", action: "grid", words: "Grid: the outlined category over many pictures" },
  { keys: ["0"], shown: "0", action: "zoom-reset", words: "Fit the picture" },
  { keys: ["+", "="], shown: "+", action: "zoom-in", words: "Zoom in, or wheel; drag to move", repeats: true },
  { keys: ["-"], shown: "−", action: "zoom-out", words: "Zoom out", repeats: true },
  { keys: ["t"], shown: "T", action: "theirs", words: "Two answers to one cell: keep the other person's" },
  { keys: ["i"], shown: "I", action: "mine", words: "Two answers to one cell: use mine" },
  { keys: ["?"], shown: "?", action: "sheet", words: "This sheet" },
];

const GRID_KEYS = [
  { keys: ["h", "ArrowLeft"], shown: "H ←", action: "grid-left", words: "Move left", repeats: true },
  { keys: ["j", "ArrowDown"], shown: "J ↓", action: "grid-down", words: "Move down", repeats: true },
  { keys: ["k", "ArrowUp"], shown: "K ↑", action: "grid-up", words: "Move up", repeats: true },
  { keys: ["l", "ArrowRight"], shown: "L →", action: "grid-right", words: "Move right", repeats: true },
  { keys: ["y"], shown: "Y", action: "grid-positive", words: "Yes, this picture has it; or press the picture" },
  { keys: ["n"], shown: "N", action: "grid-negative", words: "No, it has not" },
  { keys: ["u"], shown: "U", action: "grid-unsure", words: "Unsure: looked, cannot tell" },
  { keys: ["Backspace"], shown: "⌫", action: "grid-unknown", words: "Clear: back to not asked" },
  { keys: ["r"], shown: "R", action: "grid-rest", words: "None of the rest: No to every open picture shown" },
  { keys: ["z"], shown: "Z", action: "undo", words: "Undo, as often as you like" },
  { keys: ["Enter"], shown: "Enter", action: "grid-next", words: "Next grid of the same category" },
  { keys: ["m", "Escape"], shown: "M Esc", action: "grid-close", words: "Back to the picture" },
  { keys: ["t"], shown: "T", action: "theirs", words: "Two answers to one cell: keep the other person's" },
  { keys: ["i"], shown: "I", action: "mine", words: "Two answers to one cell: use mine" },
  { keys: ["?"], shown: "?", action: "sheet", words: "This sheet" },
];
const EDITABLE = "input, textarea, select, [contenteditable=''], [contenteditable='true']";
const PRESSABLE = "button, a[href], summary, [role='tab']";

/**
 * The action a key event asks for, or null when the key belongs to somebody else.
 * @param {KeyboardEvent} event @param {typeof KEYS} table
 */
function actionOf(event, table) {
  if (event.defaultPrevented || event.isComposing || event.ctrlKey || event.metaKey || event.altKey) return null;
  const target = event.target instanceof Element ? event.target : document.body;
  if (target.closest(EDITABLE) || document.querySelector("dialog[open]")) return null;
  if (event.key === "Enter" && target.closest(PRESSABLE)) return null; // it presses that button
  const pressed = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const row = table.find((one) => one.keys.includes(pressed));
  if (!row || (event.repeat && !row.repeats)) return null;
  return row.action;
}

/** @param {string} title @param {typeof KEYS} table */
function keyTable(title, table) {
  const rows = table.map((row) => {
    const caps = row.shown.split(" ").map((cap) => make("kbd", {}, cap));
    return make("tr", {}, make("th", { scope: "row" }, ...caps), make("td", {}, row.words));
  });
  return make("section", {}, make("h3", {}, title), make("table", {}, make("tbody", {}, ...rows)));
}

/** @param {HTMLDialogElement} dialog */
function fillSheet(dialog) {
  const legend = Object.entries(STATES).map(([state, words]) => make("li", {}, glyph(state), words.answer));
  const close = make("button", { type: "button", "data-action": "sheet" }, "Close", make("kbd", {}, "Esc"));
  dialog.replaceChildren(
    make("h2", {}, "Keys"),
    make("div", { class: "ann-tables" }, keyTable("Picture", KEYS), keyTable("Grid", GRID_KEYS)),
    make("ul", { class: "ann-totals" }, ...legend),
    make("p", {}, "A cell nobody answered is not asked. It is never counted as no."),
    close,
  );
}

/** What every action of both tables does. @param {Surface} surface */
function actionsOf(surface) {
  const { asking, grid } = surface;
  const attempt = (work) => () => surface.attempt(work);
  const given = (work) => () => surface.together.mayAnswer() && work();
  const answer = (state) => given(() => asking.answerFocused(state));
  const mark = (state) => given(() => grid.answer(state));
  return {
    positive: answer("positive"), negative: answer("negative"), unsure: answer("unsure"), unknown: answer("unknown"),
    down: () => asking.step(1), up: () => asking.step(-1),
    next: attempt(() => surface.goNext()), previous: attempt(() => surface.goPrevious()),
    rest: given(() => asking.noneOfTheRest()), undo: attempt(() => undo(surface)),
    find: () => surface.finder.open(), add: given(() => surface.finder.open({ adding: true })),
    heat: () => asking.toggleHeat(), refresh: () => surface.loaded && surface.reload(surface.loaded.image.id),
    "zoom-reset": () => asking.viewer.reset(), "zoom-in": () => asking.viewer.zoom(ZOOM_STEP),
    "zoom-out": () => asking.viewer.zoom(1 / ZOOM_STEP), sheet: () => toggle(surface.parts.sheet),
    grid: attempt(() => surface.openGrid(asking.panel.focused)),
    proposal: attempt(() => surface.openGrid(surface.order.proposal.category_id)),
    "grid-left": () => grid.step(-1, 0), "grid-right": () => grid.step(1, 0),
    "grid-up": () => grid.step(0, -1), "grid-down": () => grid.step(0, 1),
    "grid-positive": mark("positive"), "grid-negative": mark("negative"),
    "grid-unsure": mark("unsure"), "grid-unknown": mark("unknown"),
    "grid-rest": given(() => grid.rest()), "grid-next": attempt(() => grid.next()),
    "grid-close": attempt(() => surface.closeGrid()),
    theirs: () => surface.together.choose("theirs"), mine: () => surface.together.choose("mine"),
    "sign-in": () => surface.together.signIn.open(), categories: attempt(() => surface.categoryList.open()),
  };
}

/** @param {HTMLDialogElement} dialog */
function toggle(dialog) {
  if (dialog.open) dialog.close();
  else dialog.showModal();
}
