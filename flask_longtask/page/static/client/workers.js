// Whether any worker is there, which is asked once a task has been waiting for long.

const WAITS_TOO_LONG_MS = 2_000;
const ASKED_EVERY_MS = 4_000; // it costs the server a look at every worker

export class Workers {
  #server;
  #missing = false;
  #askedAt = -Infinity;
  #timer = null;

  constructor(server) {
    this.#server = server;
  }

  /** True or false, or null where the server cannot tell. */
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

  /** Calls `look` when what begins to wait now has been waiting for long. */
  soon(look) {
    this.#timer ??= setTimeout(() => {
      this.#timer = null;
      look();
    }, WAITS_TOO_LONG_MS + 100);
  }
}
