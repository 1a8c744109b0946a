// Finds out whether any worker is running. It asks the server only when a task has been waiting for long.

const WAITS_TOO_LONG_MS = 2_000;
const ASKED_EVERY_MS = 4_000; // the server has to look at every worker

export class Workers {
  #server;
  #missing = false;
  #askedAt = -Infinity;
  #timer = null;

  constructor(server) {
    this.#server = server;
  }

  /** Resolves to whether no worker is running, or to null if the server cannot tell. */
  async areMissing(bars) {
    const now = performance.now();
    if (!bars.some(({ waitingSince }) => waitingSince !== null && now - waitingSince > WAITS_TOO_LONG_MS)) {
      this.#missing = false;
    } else if (this.#missing || now - this.#askedAt >= ASKED_EVERY_MS) {
      this.#askedAt = now;
      const health = await this.#server.health();
      if (health?.redis !== 'up') return null;
      this.#missing = health.workers === 0;
    }
    return this.#missing;
  }

  /** Calls `look` when a task that begins to wait now would have been waiting for long. */
  soon(look) {
    this.#timer ??= setTimeout(() => {
      this.#timer = null;
      look();
    }, WAITS_TOO_LONG_MS + 100);
  }
}
