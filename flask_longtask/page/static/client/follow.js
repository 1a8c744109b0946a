// `start()` and `follow()`: starting and following tasks from a script. Nothing is drawn here.

import { Follower } from './follower.js';
import { addressed, addressOf, post } from './server.js';
import { eventsOf } from './status.js';

/** Follows the task at this address, or the tasks of an address `/status?id=…&id=…`. */
export function follow(location, callbacks = {}) {
  const { base, ids } = addressed(location);
  return new Following(base, new Map(ids.map((id) => [id])), callbacks);
}

/** Posts to a start route, and follows the tasks that it starts. Throws a Problem. */
export async function start(url, body = {}, { headers = {}, ...callbacks } = {}) {
  const { base, tasks } = await post(url, body, headers);
  return new Following(base, tasks, callbacks);
}

class Following {
  #follower;
  #tasks = new Map();
  #open;
  #stops;
  #callbacks;
  #resolveEnded;

  constructor(base, tasks, callbacks) {
    this.#follower = Follower.at(base);
    this.#callbacks = callbacks;
    this.#open = new Set(tasks.keys());
    this.locations = [...tasks.keys()].map((id) => addressOf(base, id));
    this.ended = new Promise((resolve) => {
      this.#resolveEnded = resolve;
    });
    this.#stops = [...tasks].map(([id, task]) => this.#follower.follow(id, this.#listener(id), task));
  }

  /** The last known status object of each task, without the tasks whose status is not known yet. */
  get tasks() {
    return [...this.#tasks.values()];
  }

  /** Stops following: no callback is called any more. The tasks go on. */
  stop() {
    this.#callbacks = {};
    for (const stop of this.#stops) stop();
  }

  /** Cancels the tasks that have not ended. Throws a Problem. */
  async cancel() {
    await Promise.all([...this.#open].map((id) => this.#follower.cancel(id)));
  }

  #listener(id) {
    return {
      tell: (task, phase) => {
        this.#tasks.set(id, task);
        const events = this.#open.has(id) ? eventsOf(phase) : ['progress']; // parts of a failed family may go on
        for (const event of events) this.#call(event, task);
        if (events.includes('end') && this.#open.delete(id) && this.#open.size === 0) this.#resolveEnded(this.tasks);
      },
      offline: (problem, seconds) => this.#call('offline', problem, seconds),
      online: () => this.#call('online'),
    };
  }

  /** In a microtask: the caller first gets this object, and an error in a callback stops nothing here. */
  #call(event, ...subject) {
    const name = `on${event[0].toUpperCase()}${event.slice(1)}`;
    queueMicrotask(() => this.#callbacks[name]?.(...subject));
  }
}
