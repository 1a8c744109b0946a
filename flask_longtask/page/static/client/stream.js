// Receives changes: one stream for all open tasks. follower.js decides whether to use it.

import { parsed } from './server.js';

export class Stream {
  #server;
  #tell;
  #lost;
  #source = null;
  #ids = new Set();

  /** Calls `tell` with an id and its status object, null for a task that does not exist; `lost` when the stream ends. */
  constructor(server, { tell, lost }) {
    this.#server = server;
    this.#tell = tell;
    this.#lost = lost;
  }

  get isOpen() {
    return this.#source !== null;
  }

  /** Opens a stream of these tasks, unless the present one has all of them. */
  follow(ids) {
    if (this.isOpen && ids.every((id) => this.#ids.has(id))) return;
    this.close();
    const source = this.#server.openStream(ids);
    this.#source = source;
    this.#ids = new Set(ids);
    const listen = (name, listener) => source.addEventListener(name, (event) => {
      if (source === this.#source) listener(parsed(event.data));
    });
    listen('message', (task) => this.#tell(task.task_id, task));
    listen('gone', ({ task_id: id }) => this.#tell(id, null));
    listen('problem', () => this.#end()); // Redis is away
    listen('error', () => this.#end());
  }

  close() {
    this.#source?.close();
    this.#source = null;
  }

  #end() {
    this.close();
    this.#lost();
  }
}
