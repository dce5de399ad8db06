/* The JSON routes. Two kinds of failure: the server said no (Refusal), or it could not answer now (Unreachable). */
const ROLES = ["viewer", "annotator", "reviewer", "admin"]; // each may do what those before it may

/** The request itself is not accepted; repeating it changes nothing. */
class Refusal extends Error {
  constructor(status, code, message, cells = []) {
    super(message);
    this.status = status;
    this.code = code;
    this.cells = cells; // of a conflict: both values of each
  }
}

/** No usable answer: network, server error, signed out. Repeating it later is right. */
class Unreachable extends Error {
  constructor(message, { signedOut = false, retryAfter = 0, answered = false } = {}) {
    super(message);
    this.signedOut = signedOut;
    this.answered = answered; // by a server that cannot do it now
    this.retryAfter = retryAfter; // seconds the server wants to be left alone
  }
}

const TRY_AGAIN = new Set([408, 425, 429]);
const MOST_PATIENCE_S = 60;

/** Whether the server knows who asks; the page sets what happens when that changes. */
const session = { out: false, since: 0, onOut: () => undefined, onBack: () => undefined };

/**
 * @param {string} path
 * @param {{method?: string, body?: object, keepalive?: boolean}} [options]
 * @returns {Promise<any>} the decoded JSON
 */
async function ask(path, { method = "GET", body, keepalive = false } = {}) {
  const options = { method, keepalive, headers: { Accept: "application/json" }, signal: AbortSignal.timeout(30000) };
  if (body !== undefined) {
    options.headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  const began = performance.now();
  let response;
  let answer;
  try {
    response = await fetch(path, options);
    answer = await response.text();
  } catch (error) {
    throw new Unreachable("The server cannot be reached.");
  }
  if (response.status === 401 || (response.redirected && /\/(login|setup)/.test(response.url))) {
    if (!session.out) Object.assign(session, { out: true, since: performance.now() });
    session.onOut();
    throw new Unreachable("You are signed out.", { signedOut: true });
  }
  if (session.out && began > session.since) {
    session.out = false; // an answer to an older request says nothing about now
    session.onBack();
  }
  return readAnswer(response.status, answer, Number(response.headers.get("Retry-After")) || 0);
}

/** Decode an answer or throw what it means. */
function readAnswer(status, text, retryAfter = 0) {
  let data;
  try {
    data = JSON.parse(text);
  } catch (error) {
    throw new Unreachable(`The server gave an answer that is not data (${status}).`);
  }
  if (status < 400) return data;
  const fault = data.error || {};
  const message = fault.message || `The server refused with ${status}.`;
  // A missing right is an answer; any other 403 is about the way this request came.
  const later = status >= 500 || TRY_AGAIN.has(status) || (status === 403 && fault.code !== "not_allowed");
  if (later) throw new Unreachable(message, { retryAfter: Math.min(MOST_PATIENCE_S, retryAfter), answered: true });
  throw new Refusal(status, fault.code || "refused", message, fault.cells);
}

/** The routes of one project. */
class ProjectApi {
  /** @param {number} id */
  constructor(id) {
    this.id = id;
    this.base = `/api/projects/${id}`;
  }

  categories() {
    return ask(`${this.base}/categories`);
  }

  addCategory(name) {
    return ask(`${this.base}/categories`, { method: "POST", body: { name } });
  }

  archivedCategories() {
    return ask(`${this.base}/categories/archived`);
  }

  renameCategory(id, name) {
    return ask(`${this.base}/categories/${id}`, { method: "PATCH", body: { name } });
  }

  /** @param {"archive"|"restore"} what */
  moveCategory(id, what) {
    return ask(`${this.base}/categories/${id}/${what}`, { method: "POST" });
  }

  /** @param {number} into the category that takes the answers over @param {boolean} preview only say what would happen */
  mergeCategory(id, into, preview) {
    return ask(`${this.base}/categories/${id}/merge`, { method: "POST", body: { into, preview } });
  }

  orderCategories(ids) {
    return ask(`${this.base}/categories/order`, { method: "PUT", body: { ids } });
  }

  /** @param {{limit?: number, strategy?: string|null}} [wish] no strategy leaves the choice to the server */
  deck({ limit = 500, strategy = null } = {}) {
    const query = new URLSearchParams({ limit: String(limit) });
    if (strategy) query.set("strategy", strategy);
    return ask(`${this.base}/deck?${query}`);
  }

  grid(categoryId, limit) {
    return ask(`${this.base}/grid?category=${categoryId}&limit=${limit}`);
  }

  item(imageId) {
    return ask(`${this.base}/images/${imageId}`);
  }

  attention(imageId, categoryId) {
    return ask(`${this.base}/images/${imageId}/attention/${categoryId}`);
  }

  status() {
    return ask(`${this.base}/status`);
  }
}
