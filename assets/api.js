/* The JSON routes. Two kinds of failure: the server said no (Refusal), or it could not answer now (Unreachable). */

/** The request itself is not accepted; repeating it changes nothing. */
class Refusal extends Error {
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

/** No usable answer: network, server error, signed out. Repeating it later is right. */
class Unreachable extends Error {
  constructor(message, { signedOut = false } = {}) {
    super(message);
    this.signedOut = signedOut;
  }
}

const TRY_AGAIN = new Set([401, 403, 408, 425, 429]);

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
  let response;
  let answer;
  try {
    response = await fetch(path, options);
    answer = await response.text();
  } catch (error) {
    throw new Unreachable("The server cannot be reached.");
  }
  if (response.status === 401 || (response.redirected && /\/(login|setup)/.test(response.url))) {
    throw new Unreachable("You are signed out.", { signedOut: true });
  }
  return readAnswer(response.status, answer);
}

/** Decode an answer or throw what it means. */
function readAnswer(status, text) {
  let data;
  try {
    data = JSON.parse(text);
  } catch (error) {
    throw new Unreachable(`The server gave an answer that is not data (${status}).`);
  }
  if (status < 400) return data;
  const fault = data.error || {};
  const message = fault.message || `The server refused with ${status}.`;
  if (status >= 500 || TRY_AGAIN.has(status)) throw new Unreachable(message);
  throw new Refusal(status, fault.code || "refused", message);
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
