// When the server is asked: after a pause, which grows while the server is away; soon; now; and less often, or not at
// all, while the page is hidden. follower.js decides what to ask, and handles the answers.

const SOON_MS = 300; // after a start: a task of milliseconds should not seem to wait until the next poll
const LONGEST_PAUSE_SECONDS = 30;
const HIDDEN_FOR_LONG_MS = 60_000; // a tab that is hidden for longer stops asking, or asks less often

export class Polling {
  /** Whether a tab that is hidden for long goes on asking, every LONGEST_PAUSE_SECONDS. */
  static inBackground = false;

  /** The Problem of the last request; null if it succeeded. */
  problem = null;
  #failures = 0; // in a row, since `tryNow`
  #ask;
  #goOn;
  #timer = null;
  #soonTimer = null;
  #asking = null;
  #hiddenSince = 0; // only valid while the page is hidden

  /** `ask` asks the server once. `goOn` is called after each request, to plan the next one. */
  constructor({ ask, goOn }) {
    this.#ask = ask;
    this.#goOn = goOn;
  }

  get isAway() {
    return this.problem !== null;
  }

  /** Whether there is nothing to plan: a request is under way, or the page has been hidden for long. */
  get rests() {
    return this.#asking !== null || (this.#isHiddenForLong && !Polling.inBackground);
  }

  get #isHiddenForLong() {
    return document.hidden && performance.now() - this.#hiddenSince > HIDDEN_FOR_LONG_MS;
  }

  failed(problem) {
    this.problem = problem;
    this.#failures += 1;
  }

  succeeded() {
    this.problem = null;
    this.#failures = 0;
  }

  /** Returns the seconds until the next request: `usual`, unless the server is away or the page is hidden for long. */
  pause(usual) {
    if (this.#isHiddenForLong) return LONGEST_PAUSE_SECONDS;
    if (!this.isAway) return usual;
    return Math.min(LONGEST_PAUSE_SECONDS, Math.max(usual * 2 ** (this.#failures - 1), this.problem.retryAfter));
  }

  /** Asks now, since the server may be back. The pauses start short again. */
  tryNow() {
    this.#failures = 0;
    return this.now();
  }

  /** Asks now, unless a request is under way. */
  now() {
    clearTimeout(this.#timer);
    this.#timer = null;
    this.#asking ??= this.#ask().finally(() => {
      this.#asking = null;
      this.#goOn();
    });
    return this.#asking;
  }

  /** Plans a request after a pause, unless one is planned already. */
  after(seconds) {
    this.#timer ??= setTimeout(() => this.now(), seconds * 1000);
  }

  /**
   * Plans one early request for all tasks that are followed until then. `known`: whether the task's status is known; if
   * not, the request is made at once. `isNeeded` is asked just before.
   */
  soon(known, isNeeded) {
    if (!known) clearTimeout(this.#soonTimer);
    else if (this.#soonTimer !== null) return;
    this.#soonTimer = setTimeout(async () => {
      await this.#asking; // a request under way may not ask for the new tasks
      this.#soonTimer = null;
      if (isNeeded()) this.now();
    }, known ? SOON_MS : 0);
  }

  visibilityChanged() {
    this.#hiddenSince = performance.now();
  }
}
