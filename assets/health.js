/* A line above all tabs while answers are not saved as usual, or soon will not be. */
const EVERY_MS = 60000; // an idle page asks once a minute, one in trouble more often
const TROUBLED_MS = 10000;
const line = element.querySelector(".health");
let timer = null;
let looking = false;

async function look() {
  if (looking) return;
  looking = true;
  clearTimeout(timer);
  let troubled = !line.hidden;
  try {
    const response = await fetch("/api/health", { headers: { Accept: "application/json" } });
    if (response.ok) troubled = show((await response.json()).notices);
  } catch (error) {
    if (!(error instanceof TypeError || error instanceof SyntaxError)) throw error; // offline: the status line says so
  } finally {
    looking = false;
    timer = setTimeout(look, troubled ? TROUBLED_MS : EVERY_MS);
  }
}

/** @param {{level: string, text: string}[]} notices @returns {boolean} whether there is anything to say */
function show(notices) {
  line.replaceChildren(...notices.map(({ level, text }) => {
    const sentence = document.createElement("p");
    sentence.dataset.level = level;
    sentence.textContent = text;
    return sentence;
  }));
  line.hidden = !notices.length;
  return notices.length > 0;
}

document.addEventListener("visibilitychange", () => {
  if (!document.hidden) look();
});
// A save that was refused for want of room or because of the disk: say why at once.
if (PerformanceObserver.supportedEntryTypes.includes("resource")) {
  new PerformanceObserver((list) => {
    if (list.getEntries().some(({ responseStatus }) => responseStatus === 503 || responseStatus === 507)) look();
  }).observe({ type: "resource" });
}
look();
