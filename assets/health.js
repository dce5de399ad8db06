/* A line above all tabs while answers are not saved as usual, or soon will not be. */
const EVERY_MS = 60000; // an idle page asks once a minute, one in trouble more often
const TROUBLED_MS = 10000;
const PATIENCE_MS = 30000;
const ADDRESS = "/api/health";
const OUT = { level: "error", text: "You are signed out: load the page again and sign in." };
const line = element.querySelector(".health");
let timer = null;
let looking = false;
let out = false; // nobody is signed in here any more

async function look() {
  if (looking) return;
  looking = true;
  clearTimeout(timer);
  let troubled = !line.hidden;
  try {
    const signal = AbortSignal.timeout(PATIENCE_MS); // else one look without an answer would be the last
    const response = await fetch(ADDRESS, { headers: { Accept: "application/json" }, signal });
    out = response.status === 401;
    if (out) troubled = show([OUT]);
    else if (response.ok) troubled = show((await response.json()).notices);
  } catch (error) {
    const expected = [TypeError, SyntaxError, DOMException]; // offline or too late: the status line says so
    if (!expected.some((kind) => error instanceof kind)) throw error;
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
  dispatchEvent(new Event("resize")); // what fills the window below it has another height now
  return notices.length > 0;
}

document.addEventListener("visibilitychange", () => {
  if (!document.hidden) look();
});
// A save that was refused for want of room or because of the disk, a tab that nobody may see any more: say why
// at once. An answer after that says that somebody signed in again.
function telling({ name, responseStatus }) {
  const { pathname } = new URL(name);
  if (pathname === ADDRESS) return false;
  if (out) return responseStatus === 200 && pathname.startsWith("/api/");
  return [401, 503, 507].includes(responseStatus);
}

if (PerformanceObserver.supportedEntryTypes.includes("resource")) {
  new PerformanceObserver((list) => {
    if (list.getEntries().some(telling)) look();
  }).observe({ type: "resource" });
}
look();
