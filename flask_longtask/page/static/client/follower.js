// Keeps the status of tasks up to date, by polls or by a stream, through outages, until all of them have ended, with
// one request for all tasks of a server. It calls the listeners of each task; the requests are in server.js.

import { Polling } from './polling.js';
import { IDS_PER_REQUEST, Problem, Server } from './server.js';
import { goesOn, isEnd, phaseOf, wholeStatus } from './status.js';
import { live } from './storage.js';
import { Stream } from './stream.js';
import { Workers } from './workers.js';

/** The last known status of a task that has listeners. */
class Followed {
  task = null; // its status object
  phase = '';
  /** When the task was first seen waiting, by the page's own clock; null while it does not wait. */
  waitingSince = null;
  listeners = new Set();

  get ended() {
    return isEnd(this.phase) && !goesOn(this.task, this.phase);
  }

  /** Takes a status object, or null for a task that does not exist (any more). Returns whether it is a change. */
  take(id, task) {
    const next = task && wholeStatus(task);
    if (next && JSON.stringify(next) === JSON.stringify(this.task)) return false;
    // An answer that was under way when the task ended (cancelled here, say) is outdated.
    if (next && isEnd(this.phase) && !isEnd(phaseOf(next))) return false;
    this.task = next ?? this.task ?? wholeStatus({ task_id: id });
    this.phase = next ? phaseOf(next) : 'expired';
    this.waitingSince = this.phase === 'waiting' ? this.waitingSince ?? performance.now() : null;
    return true;
  }
}

export class Follower {
  static #ofServers = new Map();

  /** Returns the follower of the server at this address. */
  static at(base) {
    if (!this.#ofServers.has(base)) this.#ofServers.set(base, new Follower(base));
    return this.#ofServers.get(base);
  }

  static get all() {
    return [...this.#ofServers.values()];
  }

  /** Seconds between two polls. */
  static pollSeconds = 2;

  #server;
  #tasks = new Map();
  #observers = new Set();
  #errands = new Set();
  #lastSeen = null; // when the server last answered
  #polling = new Polling({ ask: () => this.#ask(), goOn: () => this.#goOn() });
  #stream;
  #workers;

  constructor(base) {
    this.#server = new Server(base);
    this.#workers = new Workers(this.#server);
    this.#stream = new Stream(this.#server, {
      tell: (id, task) => this.#received(id, task),
      lost: () => this.#polling.after(this.#pause), // the next poll finds out why, and reopens the stream
    });
    document.addEventListener('visibilitychange', () => this.#visibilityChanged());
    window.addEventListener('online', () => this.#polling.isAway && this.tryNow());
  }

  /**
   * Follows a task; returns a function that stops following. `listener` has `tell(task, phase)`,
   * `offline(problem, seconds)` and `online()`. `task` is the status object, if it is already known.
   */
  follow(id, listener, task = null) {
    if (!this.#tasks.has(id)) this.#tasks.set(id, new Followed());
    const followed = this.#tasks.get(id);
    if (task) this.#update(id, task);
    followed.listeners.add(listener);
    if (followed.task) listener.tell(followed.task, followed.phase);
    if (this.#polling.isAway) listener.offline?.(this.#polling.problem, this.#pause);
    this.#polling.soon(Boolean(followed.task), () => this.#isNeeded && !this.#stream.isOpen);
    this.#goOn();
    return () => {
      followed.listeners.delete(listener);
      if (followed.listeners.size === 0 && this.#tasks.get(id) === followed) this.#tasks.delete(id);
    };
  }

  /** Cancels a task. Throws a Problem, but not if the task has already ended: then its end is shown. */
  async cancel(id) {
    try {
      this.#update(id, await this.#server.cancel(id));
    } catch (problem) {
      if (problem.status === 404) this.#update(id, null);
      else if (problem.status === 409) await this.#polling.now();
      else throw problem;
    }
  }

  /** Starts an ended task again. Returns the status object of the new task. Throws a Problem. */
  restart(id) {
    return this.#server.restart(id);
  }

  /** Adds an observer of the server: `away(message, lastSeen, seconds)`, `trying()`, `back()`, `noWorker(yes)`. */
  observe(observer) {
    this.#observers.add(observer);
  }

  /** Calls `errand(server)` with the next request, and with later ones until it succeeds. */
  once(errand) {
    this.#errands.add(errand);
    return this.tryNow();
  }

  tryNow() {
    return this.#polling.tryNow();
  }

  liveChanged() {
    if (!live.read()) this.#stream.close();
    this.#polling.now();
  }

  get #open() {
    return [...this.#tasks].filter(([, followed]) => !followed.ended);
  }

  /** The open tasks that a stream tells of: it ends when they have ended, also if parts of a failed one go on. */
  get #streamed() {
    return this.#open.filter(([, followed]) => !isEnd(followed.phase));
  }

  get #isNeeded() {
    return this.#polling.isAway || this.#errands.size > 0 || this.#open.length > 0;
  }

  get #pause() {
    return this.#polling.pause(Follower.pollSeconds);
  }

  /** Opens a stream or plans the next request, if any task is open or the server is away. */
  #goOn() {
    if (this.#polling.rests || !this.#isNeeded) return;
    const listens = live.read() && !document.hidden && !this.#polling.isAway && this.#errands.size === 0;
    const ids = listens ? this.#streamed.slice(0, IDS_PER_REQUEST).map(([id]) => id) : [];
    if (ids.length) this.#stream.follow(ids);
    if (!listens || ids.length < this.#open.length) this.#polling.after(this.#pause);
  }

  async #ask() {
    if (this.#polling.isAway) this.#observe('trying');
    try {
      for (const errand of this.#errands) {
        await errand(this.#server);
        this.#errands.delete(errand);
      }
      const ids = this.#open.map(([id]) => id);
      for await (const [id, task] of this.#server.statuses(ids)) this.#update(id, task);
      this.#cameBack();
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      this.#wentAway(problem);
    }
  }

  #received(id, task) {
    this.#lastSeen = new Date().toISOString();
    this.#update(id, task);
    if (this.#streamed.length === 0) this.#stream.close();
    this.#goOn();
    this.#workers.soon(() => this.#lookForWorkers());
  }

  #update(id, task) {
    const followed = this.#tasks.get(id);
    if (!followed || followed.ended || !followed.take(id, task)) return;
    for (const listener of followed.listeners) listener.tell(followed.task, followed.phase);
  }

  #wentAway(problem) {
    this.#polling.failed(problem);
    this.#observe('away', problem.message, this.#tasks.size ? this.#lastSeen : null, this.#pause);
    this.#tellOpen((listener) => listener.offline?.(problem, this.#pause));
  }

  #cameBack() {
    const wasAway = this.#polling.isAway;
    this.#polling.succeeded();
    this.#lastSeen = new Date().toISOString();
    if (wasAway) {
      this.#observe('back');
      this.#tellOpen((listener) => listener.online?.());
    }
    this.#lookForWorkers();
  }

  #tellOpen(tell) {
    for (const [, followed] of this.#tasks) followed.listeners.forEach(tell);
  }

  #observe(news, ...details) {
    for (const observer of this.#observers) observer[news](...details);
  }

  async #lookForWorkers() {
    const missing = await this.#workers.areMissing(this.#open.map(([, followed]) => followed));
    if (missing === null || this.#polling.isAway) return; // the next poll notices if the server is away
    this.#observe('noWorker', missing);
  }

  #visibilityChanged() {
    this.#polling.visibilityChanged();
    const wasOpen = this.#stream.isOpen;
    if (document.hidden) this.#stream.close(); // a browser shares six connections to a server among all its tabs
    if (this.#isNeeded && (wasOpen || !document.hidden)) this.#polling.now();
  }
}
