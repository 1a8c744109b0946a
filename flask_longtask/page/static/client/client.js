// The page's client, `window.longtask`: what a page can ask it to do, and what it does when a person acts. How it
// looks is in drawing/, and when the server is asked in following.js.

import { Announcer, Banners } from '../drawing/banners.js';
import { Bar } from '../drawing/bar.js';
import { clearErrors, readForm, showError } from '../drawing/forms.js';
import { List } from '../drawing/list.js';
import { wholeStatus } from '../drawing/status.js';
import { Following } from './following.js';
import { HANDLER_OF_PHASE, Handlers, notify } from './handlers.js';
import { parsed, Problem, request, Server } from './server.js';
import { hidden, live } from './storage.js';

export class LongTask extends Handlers {
  /** Every bar of the page by its task's id. */
  bars = new Map();

  #announcer = new Announcer();
  #listening = new AbortController();
  #server = new Server(this);
  #list;
  #following;

  constructor({ base = '', pollSeconds = 2, workerCommand = 'celery -A celery_worker worker' } = {}) {
    super();
    this.base = base;
    this.pollSeconds = Number(pollSeconds);
    const banners = new Banners({ retry: () => this.#following.tryNow(), workerCommand });
    this.#list = new List(banners.element);
    this.#following = new Following(this, { server: this.#server, list: this.#list, banners });
  }

  /** Makes the bar of a task. A subclass may return its own, with the same methods. */
  createBar(task, buttons) {
    const id = task.task_id;
    const addresses = { href: this.#server.addressOf(id), resultHref: this.#server.addressOfResult(id) };
    return new Bar(task, { ...addresses, ...buttons });
  }

  /** Every request goes through here. Answers the JSON; throws a Problem. */
  request(url, init) {
    return request(url, init);
  }

  /** Takes over the page's forms, brings back its bars and begins to poll. */
  start() {
    document.body.append(this.#announcer.element);
    this.#listen(document, 'submit', (event) => this.#onSubmit(event));
    this.#listen(document, 'click', (event) => event.target.closest('[data-longtask-clear]') && this.clear());
    this.#listen(document, 'change', ({ target }) => {
      if (target.matches('[data-longtask-live]')) this.live = target.checked;
    });
    this.#listen(document, 'visibilitychange', () => this.#following.visibilityChanged());
    this.#listen(window, 'online', () => this.#following.connectionChanged());
    // nanobar is loaded beside this script and may come later; `load` waits for both.
    this.#listen(window, 'load', () => this.bars.forEach((bar) => bar.redraw()));
    for (const node of document.querySelectorAll('[data-longtask-task]')) this.#takeOver(node);
    this.#list.offerLive(this.live);
    const lists = document.querySelector('form[data-longtask], [data-longtask-list]') !== null;
    return lists ? this.#following.restore() : this.refresh();
  }

  stop() {
    this.#listening.abort();
    this.#following.stop();
  }

  /** Whether every change is told at once. */
  get live() {
    return live.read();
  }

  set live(yes) {
    live.write(yes);
    this.#list.offerLive(this.live);
    this.#following.liveChanged();
  }

  /** Starts a form's task, as often as its `data-longtask-count` field says. */
  async submit(form, submitter = null) {
    if (form.getAttribute('aria-busy') === 'true') return;
    form.setAttribute('aria-busy', 'true');
    clearErrors(form);
    const { url, body, count } = readForm(form, submitter);
    const started = [];
    try {
      while (started.length < count) started.push(await this.run(url, body, form));
    } catch (problem) {
      this.#startFailed(problem, form, started.length, count);
    } finally {
      form.removeAttribute('aria-busy');
    }
    if (started.length) this.announce(`${started[0].name} started${count > 1 ? `, ${started.length} times` : ''}.`);
  }

  /** Starts one task without a form: `run('/longtask', { steps: 5 })`. Answers its bar; throws a Problem. */
  async run(url, body = {}, form = null) {
    const task = await this.#server.start(url, body);
    const isKnown = this.bars.has(task.task_id);
    const bar = this.watch(task, form);
    this.#following.soon();
    notify(this, 'onStarted', bar.task, bar);
    if (bar.ended && !isKnown) this.#tellNews(bar); // the task was faster than the answer to its start
    return bar;
  }

  /** Puts a bar on the page, on top of the others, and keeps it up to date. Takes a status object or a bare id. */
  watch(task, form = null) {
    const whole = wholeStatus(typeof task === 'string' ? { task_id: task } : task);
    if (this.bars.has(whole.task_id)) return this.bars.get(whole.task_id);
    const bar = this.createBar(whole, { cancel: (id) => this.cancel(id), remove: (id) => this.remove(id) });
    this.bars.set(bar.id, bar);
    this.#list.add(bar, form);
    this.#offerClear();
    this.#following.goOn();
    return bar;
  }

  /** Takes news of a task: a status object, or null when the server does not know it. */
  update(id, task) {
    const bar = this.bars.get(id);
    // An answer that was under way when the task ended (say, was cancelled here) is old news.
    if (!bar || bar.ended) return;
    if (task === null) bar.expire();
    else if (!bar.show(wholeStatus(task))) return;
    this.#tellNews(bar);
  }

  async cancel(id) {
    const bar = this.bars.get(id);
    bar.note('');
    bar.cancelling(true);
    try {
      this.update(id, await this.#server.cancel(id));
    } catch (problem) {
      this.#cancelFailed(problem, bar);
    }
    bar.cancelling(false);
  }

  /** Takes a finished bar off the page, and keeps it off after a reload. */
  remove(id) {
    this.#list.remove(this.bars.get(id));
    this.bars.delete(id);
    hidden.write(hidden.read().add(id));
    this.#offerClear();
  }

  /** Takes all finished bars off the page. */
  clear() {
    for (const bar of [...this.bars.values()]) if (bar.ended) this.remove(bar.id);
    this.#list.focus(); // the button that was pressed has gone as well
  }

  /** Asks for the state of all bars now. Polling goes on from there. */
  refresh() {
    return this.#following.now();
  }

  /** Says a sentence to a screen reader, when it has nothing else to say. */
  announce(sentence) {
    this.#announcer.say(sentence);
  }

  #listen(target, event, listener) {
    target.addEventListener(event, listener, { signal: this.#listening.signal });
  }

  #onSubmit(event) {
    if (!event.target.matches('form[data-longtask]')) return;
    event.preventDefault();
    this.submit(event.target, event.submitter);
  }

  /** The page came with a task drawn by the server: the same bar, but alive. */
  #takeOver(node) {
    const bar = this.createBar(parsed(node.dataset.longtaskTask), { cancel: (id) => this.cancel(id) });
    this.bars.set(bar.id, bar);
    this.#list.replace(node, bar);
  }

  #tellNews(bar) {
    notify(this, HANDLER_OF_PHASE[bar.phase], bar.task, bar);
    if (!bar.ended) return;
    this.announce(`${bar.label}: ${bar.word}.`);
    notify(this, 'onEnded', bar.task, bar);
    this.#offerClear();
  }

  #offerClear() {
    this.#list.offerClear([...this.bars.values()].some((bar) => bar.ended));
  }

  #startFailed(problem, form, started, count) {
    if (!(problem instanceof Problem)) throw problem;
    const before = started ? `${started} of ${count} were started. ` : '';
    const unsure = ' It is not known whether the task was started: if it was, it is listed once the server is back.';
    const sentence = before + problem.message + (problem.status === 0 ? unsure : '');
    showError(form, sentence, problem.field, problem.status === 503);
    notify(this, 'onStartFailed', problem, form);
    if (problem.status === 0) this.#following.restore();
  }

  #cancelFailed(problem, bar) {
    if (!(problem instanceof Problem)) throw problem;
    if (problem.status === 404) return this.update(bar.id, null);
    if (problem.status === 409) return this.refresh(); // it ended first: show how
    bar.note(`Not cancelled. ${problem.message}`);
  }
}
