/* Undo: go where the last answer was given, and take it back there. */

/** @param {Surface} surface */
async function undo(surface) {
  const { answers, asking, grid } = surface;
  const { last } = answers;
  if (!last) return surface.say("There is nothing left to undo.");
  const [first] = last.entries;
  if (last.place.page) grid.reopen(last.place.page, first.image);
  else if (!(await showAgain(surface, last.place.question, first.category)) || answers.last !== last) return undefined;
  answers.takeBack();
  if (last.place.question) asking.focus(first.category);
  asking.drawVerdicts();
  const name = surface.nameOf(first.category);
  return surface.say(`Taken back: ${last.entries.length > 1 ? `${last.entries.length} answers` : name}.`);
}

/** Go where an answer was given. @returns {Promise<boolean>} false when something else was shown meanwhile */
async function showAgain(surface, question, focus) {
  if (surface.grid.isOpen) surface.grid.close();
  const there = () => surface.loaded && keyOf(surface.asking.question) === keyOf(question);
  if (!there()) await surface.show(surface.deck.jumpTo(question), focus);
  return there();
}
