// Keeping a page current: each source asks the API again every few seconds while someone is looking.
// A source that takes long is asked less often, so that a page left open never wears a server down.

const PERIOD_MS = 3000;
const HIDDEN_PERIOD_MS = 60000;
const RETRY_MS = 1000;
const LONGEST_WAIT_MS = 30000;
const TIMEOUT_MS = 20000;

const sources = new Set();
const listeners = new Set();
let paused = false;
let lastGood = null;

export const state = {
  get paused() {
    return paused;
  },
  get lastGood() {
    return lastGood;
  },
  /** Whether any source could not reach the server at its last try. */
  get unreachable() {
    return [...sources].some((source) => source.failures > 1);
  },
};

/** Be told whenever the connection or the pause changes. */
export function onState(listener) {
  listeners.add(listener);
}
function announce() {
  for (const listener of listeners) listener(state);
}

export function pause(value) {
  paused = value;
  for (const source of sources) {
    clearTimeout(source.timer);
    if (!paused) source.soon();
  }
  announce();
}

/**
 * One address of the API. Subscribers get `{status, data, text}`: status is the HTTP status, data the parsed answer (null unless
 * 2xx). They are called only when the answer differs from the last one, so an unchanged page does no work.
 */
export class Source {
  constructor(address, { periodMs = PERIOD_MS, parse = JSON.parse } = {}) {
    Object.assign(this, {
      address,
      periodMs,
      parse,
      subscribers: new Set(),
      failures: 0,
      answer: null,
      timer: null,
      asking: null,
    });
    sources.add(this);
    this.soon();
  }

  subscribe(subscriber) {
    this.subscribers.add(subscriber);
    if (this.answer) subscriber(this.answer);
    return this;
  }

  /** Ask another address from now on; what was shown stays until the answer is there. */
  turnTo(address) {
    if (address === this.address) return;
    this.address = address;
    this.answer = null;
    this.asking?.abort();
    this.asking = null;
    this.soon();
  }

  stop() {
    clearTimeout(this.timer);
    this.asking?.abort();
    this.subscribers.clear();
    sources.delete(this);
  }

  soon() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.ask(), 0);
  }

  async ask() {
    if (this.asking || !sources.has(this)) return;
    const abort = new AbortController();
    const deadline = setTimeout(() => abort.abort("timeout"), TIMEOUT_MS);
    this.asking = abort;
    const started = performance.now();
    try {
      const response = await fetch(this.address, {
        signal: abort.signal,
        headers: { accept: "application/json" },
        cache: "no-store",
      });
      const text = await response.text();
      if (this.asking !== abort) return;
      if (response.status >= 500) throw new Error(`the server answered ${response.status}`);
      const data = response.ok ? this.parse(text) : null;
      const recovered = this.failures > 0;
      this.failures = 0;
      lastGood = Date.now();
      if (!this.answer || this.answer.text !== text || this.answer.status !== response.status) {
        this.answer = { status: response.status, data, text };
        this.tell();
      }
      if (recovered) announce();
    } catch (error) {
      if (this.asking !== abort) return;
      this.failures += 1;
      if (!this.answer) this.tell({ status: 0, data: null, text: "" });
      announce();
    } finally {
      clearTimeout(deadline);
      if (this.asking === abort) {
        this.asking = null;
        this.wait(performance.now() - started);
      }
    }
  }

  tell(answer = this.answer) {
    for (const subscriber of this.subscribers) {
      // One panel that cannot cope with an answer must not stop the others.
      try {
        subscriber(answer);
      } catch (error) {
        reportError(error);
      }
    }
  }

  wait(tookMs) {
    if (paused || !sources.has(this)) return;
    const usual = document.hidden ? HIDDEN_PERIOD_MS : this.periodMs;
    // After a failure: soon at first, then ever more rarely.
    const pause = this.failures ? Math.min(LONGEST_WAIT_MS, RETRY_MS * 2 ** (this.failures - 1)) : usual;
    this.timer = setTimeout(() => this.ask(), Math.max(pause, tookMs * 4));
  }
}

function askAll() {
  if (!document.hidden && !paused) for (const source of sources) source.soon();
}
document.addEventListener("visibilitychange", askAll);
window.addEventListener("online", askAll);
