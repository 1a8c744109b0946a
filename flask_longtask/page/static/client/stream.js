// Being told of changes: one stream for all bars that move. Whether to listen at all is decided in follower.js.

import { parsed } from './server.js';

export class Stream {
  #server;
  #tell;
  #lost;
  #source = null;
  #ids = new Set();

  /** `tell` is called with an id and its status object, or null; `lost` when the stream has ended. */
  constructor(server, { tell, lost }) {
    this.#server = server;
    this.#tell = tell;
    this.#lost = lost;
  }

  get isOpen() {
    return this.#source !== null;
  }

  /** A new stream only where one of these tasks is not told of yet. */
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
