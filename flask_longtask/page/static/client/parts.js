// Reads the parts of a family again and again while somebody looks at them. drawing/parts.js draws them.

import { Follower } from './follower.js';
import { Problem } from './server.js';
import { isEnd, phaseOf, wholeStatus } from './status.js';

export class PartsReader {
  #server;
  #id;
  #tell;
  #mayChange;
  #pages = 1; // how many pages are shown
  #timer = null;
  #isOpen = false;
  #reading = null;

  /**
   * Calls `tell(parts, hasMore)` with the status objects of the parts, those that failed or run first. `mayChange` tells
   * whether the family is open: then the parts are read again after a pause.
   */
  constructor(server, id, { tell, mayChange }) {
    [this.#server, this.#id, this.#tell, this.#mayChange] = [server, id, tell, mayChange];
  }

  /** Reads the parts now, and as long as it is open. */
  open() {
    this.#isOpen = true;
    return this.now();
  }

  close() {
    this.#isOpen = false;
    clearTimeout(this.#timer);
  }

  /** Reads one page more from now on. */
  async more() {
    await this.#reading;
    this.#pages += 1;
    return this.now();
  }

  async now() {
    if (!this.#isOpen) return;
    clearTimeout(this.#timer);
    this.#reading ??= this.#read().finally(() => { this.#reading = null; });
    const isOpen = await this.#reading;
    clearTimeout(this.#timer);
    if (isOpen && this.#isOpen) this.#plan();
  }

  /** Plans the next reading: on average one request in the usual time, however many pages are shown. */
  #plan() {
    const pause = Follower.pollSeconds * this.#pages * 1000;
    this.#timer = setTimeout(() => (document.hidden ? this.#plan() : this.now()), pause);
  }

  /** Resolves to whether anything may still change. */
  async #read() {
    const parts = new Map(); // a part may move to the next page between two requests
    let cursor = null;
    try {
      for (let page = 0; page < this.#pages && (page === 0 || cursor); page += 1) {
        const answer = await this.#server.parts(this.#id, cursor);
        for (const task of answer.parts) parts.set(task.task_id, wholeStatus(task));
        cursor = answer.next;
      }
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      return true; // the banner says so if the server is away
    }
    this.#tell([...parts.values()], cursor !== null);
    return this.#mayChange() || [...parts.values()].some((task) => !isEnd(phaseOf(task)));
  }
}
