/* Totals with their legend, what is saved, what the worker does. Numbers move at once and are corrected by polling. */
const POLL_MS = 3000;
const AWAY_MS = 60000; // without a key or a movement nobody works here; then one look a minute is enough
const AWAY_POLL_MS = 60000;

/** Whether somebody works at this page; an open page that nobody uses costs the server next to nothing. */
const presence = {
  last: performance.now(),
  onBack: () => undefined,

  get pollMs() {
    return performance.now() - this.last > AWAY_MS ? AWAY_POLL_MS : POLL_MS;
  },

  felt() {
    const away = this.pollMs === AWAY_POLL_MS;
    this.last = performance.now();
    if (away) this.onBack();
  },
};
for (const kind of ["keydown", "pointerdown", "pointermove", "wheel"]) {
  addEventListener(kind, () => presence.felt(), { capture: true, passive: true });
}

class StatusLine {
  /** @param {Object<string, HTMLElement>} parts @param {Outbox} outbox @param {(id: number) => object|undefined} category */
  constructor(parts, outbox, category) {
    this.parts = parts;
    this.outbox = outbox;
    this.category = category;
    this.counts = null;
    this.totals = new Map();
    for (const [state, words] of Object.entries(STATES)) {
      const number = make("b", { "data-total": state }, "0");
      this.totals.set(state, number);
      parts.totals.append(make("li", {}, glyph(state), number, ` ${words.total}`));
    }
  }

  /** @param {object} status as the status route gives it */
  show(status) {
    this.status = status;
    this.counts = { ...status.counts };
    this.answersSince = status.new_decisions;
    this.drawTotals();
    this.drawWorker(status);
  }

  /** An answer was given here and is on its way. @param {State} from @param {State} to */
  moved(from, to) {
    if (!this.counts) return;
    this.counts[from] -= 1;
    this.counts[to] += 1;
    this.answersSince += 1;
    this.drawTotals();
  }

  drawTotals() {
    for (const [state, node] of this.totals) node.textContent = grouped(this.counts[state] || 0);
    const left = this.status.trains_after - (this.answersSince - this.status.new_decisions);
    const since = `${count(this.answersSince, "new answer")}`;
    this.parts.learning.textContent =
      left > 0 ? `${since}, trains by itself after ${grouped(left)} more` : `${since}, training is due`;
  }

  drawWorker({ job, worker, generation }) {
    const busy = job && (job.status === "running" || job.status === "queued");
    const state = !worker.alive ? "off" : busy ? "busy" : job && job.status === "failed" ? "failed" : "idle";
    this.parts["worker-dot"].dataset.worker = state;
    this.parts.worker.textContent = workerWords(state, job, generation);
    const { progress } = this.parts;
    progress.hidden = !(state === "busy" && job.total > 0);
    if (!progress.hidden) progress.value = job.done / job.total;
  }

  /** Nothing is known of the worker now. @param {string} why */
  lost(why) {
    this.parts["worker-dot"].dataset.worker = "lost";
    this.parts.worker.textContent = why;
    this.parts.progress.hidden = true;
  }

  /** What is kept here and not yet on the server. */
  drawSaved() {
    const waiting = this.outbox.waiting().length;
    const refused = this.outbox.refused();
    const contested = this.outbox.contested().length;
    const { problem } = this.outbox;
    const saved = this.parts.saved;
    const trouble = refused.length || contested || problem || session.out;
    saved.dataset.state = trouble ? "problem" : waiting ? "waiting" : "saved";
    let words = waiting ? `${grouped(waiting)} not yet saved` : "all saved";
    if (session.out) words = `signed out, ${words}`;
    else if (problem && waiting) words = `${problem.answered ? "retrying" : "offline, retrying"}, ${words}`;
    else if (refused.length) words = `${words}, ${grouped(refused.length)} refused`;
    if (contested) words = `${words}, ${grouped(contested)} to choose`;
    saved.title = problem ? problem.message : "";
    saved.replaceChildren(words);
    if (session.out) saved.append(" ", make("button", { type: "button", "data-action": "sign-in" }, "Sign in"));
    this.drawRefused(refused, this.warnings());
  }

  /** What a person must know about answers that are kept in this browser. @returns {string[]} */
  warnings() {
    const { kept } = this.outbox;
    const found = [];
    if (kept.unkept.size) {
      const many = count(kept.unkept.size, "answer is", "answers are");
      found.push(`This browser has no room for answers: ${many} in this tab only. Keep it open until all is saved.`);
    } else if (!kept.works) {
      found.push("This browser keeps nothing: answers that are not yet saved are lost when the tab is closed.");
    }
    const others = this.outbox.others();
    const names = [...new Set(others.map((entry) => entry.userName || "another person"))].join(", ");
    if (others.length) {
      const many = `${count(others.length, "answer")} of ${names} ${others.length === 1 ? "waits" : "wait"}`;
      found.push(`${many} here until they sign in again; ${this.outbox.me ? this.outbox.me.name : "nobody"} is signed in.`);
    }
    return found;
  }

  /** @param {Entry[]} refused @param {string[]} warnings */
  drawRefused(refused, warnings) {
    this.parts.refused.hidden = !refused.length && !warnings.length;
    const lines = refused.slice(0, 5).map((entry) => {
      const { image_id: image, category_id: id, state } = entry.decision;
      const name = (this.category(id) || { name: `category ${id}` }).name;
      const words = `“${STATES[state].answer}” to ${name} on picture ${image} was not taken: ${entry.refused} `;
      const again = make("button", { type: "button", "data-retry": entry.key }, "Try again");
      const button = make("button", { type: "button", "data-discard": entry.key }, "Discard");
      return make("p", {}, words, again, " ", button);
    });
    if (refused.length > 5) lines.push(make("p", {}, `and ${grouped(refused.length - 5)} more`));
    const all = make("button", { type: "button", "data-retry": "all" }, "Try all again");
    if (refused.length > 1) lines.push(make("p", {}, all));
    this.parts.refused.replaceChildren(...warnings.map((text) => make("p", {}, text)), ...lines);
  }
}

const WORK = { retrain: "Training", features: "Reading pictures" };

function workerWords(state, job, generation) {
  if (state === "off") return "No worker is running: answers are kept, nothing new is learned until one starts.";
  if (state === "busy") {
    const work = WORK[job.kind] || job.kind;
    if (job.status === "queued") return `${work} is waiting for the worker`;
    const steps = job.total > 0 ? `${grouped(job.done)} of ${grouped(job.total)}` : "";
    const stopping = job.cancel_requested ? "stopping" : "";
    return [work, job.stage, steps, stopping].filter(Boolean).join(" · ");
  }
  if (state === "failed") return `${WORK[job.kind] || job.kind} failed: ${job.message}`;
  if (!generation) return "Nothing learned yet. Answer a few cells and the first training starts by itself.";
  const quality = Number.isFinite(generation.map) ? `, held-out mAP ${(generation.map * 100).toFixed(1)} %` : "";
  return `Suggestions of generation ${generation.id}, ${ago(Date.now() - generation.created_at)}${quality}`;
}
