// When the server is asked: after a pause, which grows while it is away, soon, now, or not while the page is out of
// sight. What is asked, and what is done with the answer, is in follower.js.

const SOON_MS = 300; // after a start: a task of milliseconds is not to seem to wait until the next poll
const LONGEST_PAUSE_SECONDS = 30;
const HIDDEN_FOR_LONG_MS = 60_000; // a tab out of sight for longer stops asking

export class Polling {
  /** Why the last request failed; null if it did not. */
  problem = null;
  #failures = 0; // in a row, since the last try that was asked for
  #ask;
  #goOn;
  #timer = null;
  #soonTimer = null;
  #asking = null;
  #hiddenSince = 0; // if the page is hidden at all

  /** `ask` asks once; `goOn` is called after each time, to say when to ask again. */
  constructor({ ask, goOn }) {
    this.#ask = ask;
    this.#goOn = goOn;
  }

  get isAway() {
    return this.problem !== null;
  }

  /** Whether there is nothing to plan: it is being asked, or not to be asked by itself. */
  get rests() {
    const hiddenForLong = document.hidden && performance.now() - this.#hiddenSince > HIDDEN_FOR_LONG_MS;
    return this.#asking !== null || hiddenForLong;
  }

  failed(problem) {
    this.problem = problem;
    this.#failures += 1;
  }

  succeeded() {
    this.problem = null;
    this.#failures = 0;
  }

  /** Seconds until the next request, `usual` unless the server is away. */
  pause(usual) {
    if (!this.isAway) return usual;
    return Math.min(LONGEST_PAUSE_SECONDS, Math.max(usual * 2 ** (this.#failures - 1), this.problem.retryAfter));
  }

  /** The server may be back: the pauses start short again. */
  tryNow() {
    this.#failures = 0;
    return this.now();
  }

  /** Never two at a time. */
  now() {
    clearTimeout(this.#timer);
    this.#timer = null;
    this.#asking ??= this.#ask().finally(() => {
      this.#asking = null;
      this.#goOn();
    });
    return this.#asking;
  }

  /** Unless it is planned already. */
  after(seconds) {
    this.#timer ??= setTimeout(() => this.now(), seconds * 1000);
  }

  /** Once for all that is begun until then, if `isNeeded` says so then. What nothing is `known` of is asked for at once. */
  soon(known, isNeeded) {
    if (!known) clearTimeout(this.#soonTimer);
    else if (this.#soonTimer !== null) return;
    this.#soonTimer = setTimeout(async () => {
      await this.#asking; // it may have asked before that
      this.#soonTimer = null;
      if (isNeeded()) this.now();
    }, known ? SOON_MS : 0);
  }

  visibilityChanged() {
    this.#hiddenSince = performance.now();
  }
}
