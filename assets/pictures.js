/* A picture that the server cannot send at this moment (429, 503) is asked for again when the server says so. */
const PICTURE_TRIES = 6;
const PICTURE_PAUSE_S = 2; // where the server names no time
const PICTURE_PAUSE_MOST_S = 60;
const PICTURE_SILENT_S = 10; // who waits longer for the picture in question is told why

/**
 * Why a picture did not come, as a pause: an <img> tells no status.
 * @param {string} url @returns {Promise<number|null>} seconds; null when asking again is of no use
 */
async function pictureRest(url) {
  const answer = await fetch(url).catch(() => null);
  if (answer && answer.body) answer.body.cancel().catch(() => undefined); // its head is enough
  if (answer && answer.ok) return 0;
  if (!answer || ![429, 503].includes(answer.status)) return null;
  const wanted = Number(answer.headers.get("Retry-After")) || PICTURE_PAUSE_S;
  return Math.min(PICTURE_PAUSE_MOST_S, wanted) + Math.random(); // those refused together do not come back together
}

/** Resolve once the picture is there; reject when it will not come soon. @param {HTMLImageElement} picture */
async function pictureArrived(picture, url) {
  for (let tries = 1; ; tries += 1) {
    picture.src = url;
    try {
      return await picture.decode();
    } catch (error) {
      const rest = tries < PICTURE_TRIES ? await pictureRest(url) : null;
      if (rest === null || rest > PICTURE_SILENT_S) throw error;
      await new Promise((done) => setTimeout(done, 1000 * rest));
    }
  }
}

/** A small picture that asks again by itself while it is on the page. @param {string} url */
function smallPicture(url, attributes = {}) {
  const picture = make("img", { src: url, alt: "", decoding: "async", draggable: "false", ...attributes });
  let tries = 1;
  picture.addEventListener("error", async () => {
    const rest = tries < PICTURE_TRIES && picture.isConnected ? await pictureRest(url) : null;
    if (rest === null) return;
    tries += 1;
    setTimeout(() => {
      if (picture.isConnected) picture.setAttribute("src", url);
    }, 1000 * rest);
  });
  return picture;
}
