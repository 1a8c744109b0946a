// Keeping the bars up to date, by polls or by a stream, through outages, until all of them have ended. What is learnt
// goes to the client's `update()`; the requests themselves are in server.js.

import { clearPassedErrors } from '../drawing/forms.js';
import { notify } from './handlers.js';
import { Polling } from './polling.js';
import { IDS_PER_REQUEST, Problem } from './server.js';
import { hidden } from './storage.js';
import { Stream } from './stream.js';
import { Workers } from './workers.js';

export class Following {
  #client;
  #server;
  #list;
  #banners;
  #restored = true; // the page has the bars of tasks that were started before it was loaded
  #lastSeen = null; // when the server was last heard of
  #polling = new Polling({ ask: () => this.#ask(), goOn: () => this.goOn() });
  #stream;
  #workers;

  constructor(client, { server, list, banners }) {
    this.#client = client;
    this.#server = server;
    this.#list = list;
    this.#banners = banners;
    this.#stream = new Stream(server, {
      tell: (id, task) => this.#told(id, task),
      lost: () => this.#polling.after(this.#pause), // asking finds out what is so, and comes back to the stream
    });
    this.#workers = new Workers(server);
  }

  /** Asks for the state of all bars now, and goes on from there. */
  now() {
    return this.#polling.now();
  }

  /** The same, and what this browser has started is listed first: the page may lack a bar. */
  restore() {
    this.#restored = false;
    return this.tryNow();
  }

  tryNow() {
    return this.#polling.tryNow();
  }

  /** A task has been started. Where a stream tells of every change there is nothing to ask. */
  soon() {
    this.#polling.soon(() => !this.#stream.isOpen && this.#isNeeded);
  }

  /** Listens or plans the next request, if anything is still to come. */
  goOn() {
    if (this.#polling.rests || !this.#isNeeded) return;
    const listens = this.#client.live && !document.hidden && !this.#polling.isAway && this.#restored;
    const ids = this.#running.map((bar) => bar.id);
    if (listens) this.#stream.follow(ids.slice(0, IDS_PER_REQUEST));
    if (!listens || ids.length > IDS_PER_REQUEST) this.#polling.after(this.#pause);
  }

  liveChanged() {
    if (!this.#client.live) this.#stream.close();
    this.now();
  }

  visibilityChanged() {
    this.#polling.visibilityChanged();
    const wasOpen = this.#stream.isOpen;
    if (document.hidden) this.#stream.close(); // a browser has six connections to a server, for all its tabs
    if (this.#isNeeded && (wasOpen || !document.hidden)) this.now();
  }

  connectionChanged() {
    if (this.#polling.isAway) this.tryNow();
  }

  stop() {
    this.#polling.stop();
    this.#stream.close();
  }

  get #running() {
    return [...this.#client.bars.values()].filter((bar) => !bar.ended);
  }

  get #isNeeded() {
    return this.#polling.isAway || !this.#restored || this.#running.length > 0;
  }

  get #pause() {
    return this.#polling.pause(this.#client.pollSeconds);
  }

  async #ask() {
    if (this.#polling.isAway) this.#banners.trying();
    try {
      if (!this.#restored) await this.#bringBack();
      const ids = this.#running.map((bar) => bar.id);
      for await (const [id, task] of this.#server.statuses(ids)) this.#client.update(id, task);
      this.#cameBack();
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      this.#wentAway(problem);
    }
  }

  async #bringBack() {
    const tasks = await this.#server.tasks();
    const put = hidden.read();
    hidden.write(tasks.map((task) => task.task_id).filter((id) => put.has(id)));
    // The server lists the newest first and each bar goes on top: from the oldest on.
    for (const task of tasks.toReversed()) {
      if (put.has(task.task_id) || this.#client.bars.has(task.task_id)) continue;
      const bar = this.#client.watch(task);
      notify(this.#client, 'onRestored', bar.task, bar);
    }
    this.#restored = true;
    this.#list.complete();
  }

  #told(id, task) {
    this.#lastSeen = new Date().toISOString();
    this.#client.update(id, task);
    if (this.#running.length === 0) this.#stream.close();
    this.#workers.soon(() => this.#lookForWorkers());
  }

  #wentAway(problem) {
    const isNew = !this.#polling.isAway;
    this.#polling.failed(problem);
    this.#list.showBanners();
    this.#markStale();
    this.#banners.away(problem.message, this.#client.bars.size ? this.#lastSeen : null, this.#pause);
    if (isNew) this.#client.announce(problem.message);
    notify(this.#client, 'onOffline', problem, this.#pause);
  }

  #cameBack() {
    const wasAway = this.#polling.isAway;
    this.#polling.succeeded();
    this.#lastSeen = new Date().toISOString();
    if (wasAway) {
      this.#markStale();
      this.#banners.back();
      clearPassedErrors();
      this.#client.announce('The server is back.');
      notify(this.#client, 'onOnline');
    }
    this.#lookForWorkers();
  }

  /** Bars that may be out of date are drawn paler. */
  #markStale() {
    for (const bar of this.#client.bars.values()) {
      bar.element.classList.toggle('longtask-stale', this.#polling.isAway && !bar.ended);
    }
  }

  async #lookForWorkers() {
    const missing = await this.#workers.areMissing(this.#running);
    if (missing === null || this.#polling.isAway) return; // no answer at all is for the next poll to tell
    if (missing && !this.#banners.noWorker) this.#client.announce('No worker is running.');
    this.#banners.noWorker = missing;
  }
}
