// The element `<long-task href="…">`: the bar of the task at this address. While it is on the page, it follows the
// task, and dispatches an event for each change.

import { Follower } from '../client/follower.js';
import { addressed, addressOf, addressOfResult, parsed, Problem, Server } from '../client/server.js';
import { eventsOf, goesOn, isEnd } from '../client/status.js';
import { text } from '../strings.js';
import { announceEnd } from './announcer.js';
import { showBanners } from './banners.js';
import { facts, result } from './details.js';
import { button, element, setText } from './elements.js';
import { Meter } from './meter.js';
import { Parts } from './parts.js';
import { duration, withLocalTimes } from './times.js';
import { nameOfTask, sentenceOf, wordOf } from './words.js';

export class LongTaskElement extends HTMLElement {
  static observedAttributes = ['href'];

  /** The last drawn status object and its phase; null and "" before the first answer. */
  task = null;
  phase = '';
  /** The form that has started the task. Events are dispatched on it, too. */
  form = null;

  #id = null;
  #base = null;
  #stop = null;
  /** Whether the next status is news to the page: it is not one from before a reload, and no end has been told yet. */
  #isNews = true;
  /** The id of the task that repeats this one, if the page knows of one. */
  #repeatedBy = null;
  #sentence = null;
  #meter;
  #name;
  #percent;
  #cancel;
  #restart;
  #hide;
  #word;
  #message;
  #facts;
  #known;
  #result;
  #note;
  #parts;

  connectedCallback() {
    if (this.#stop || !this.hasAttribute('href')) return;
    const { base, ids: [id] } = addressed(this.getAttribute('href'));
    if (base !== this.#base || id !== this.#id) this.#build(base, id);
    showBanners(this.#follower, this.closest('.longtask-list') ?? this);
    this.#stop = this.#follower.follow(id, {
      tell: (task, phase) => this.#tell(task, phase),
      offline: () => this.classList.toggle('longtask-stale', !isEnd(this.phase)),
      online: () => this.classList.remove('longtask-stale'),
    }, this.task);
    this.#parts.pause(false);
    this.#isNews = !isEnd(this.phase);
  }

  disconnectedCallback() {
    // The bar may only be moving to another place.
    queueMicrotask(() => this.isConnected || this.#leave());
  }

  attributeChangedCallback() {
    if (!this.isConnected) return;
    this.#leave();
    [this.task, this.phase] = [null, ''];
    this.#isNews = true;
    this.connectedCallback();
  }

  #leave() {
    this.#stop?.();
    this.#stop = null;
    this.#parts?.pause(true);
    this.#isNews = !isEnd(this.phase); // it may be put back
  }

  /** Sets the known status before the bar is put on the page. `isNews`: it is not one from before a reload. */
  know(task, isNews) {
    this.task = task;
    this.#isNews = isNews;
  }

  /** Cancels the task. If this fails, a sentence under the bar says why. */
  async cancel() {
    const hadFocus = document.activeElement === this.#cancel;
    this.#say('');
    this.#cancel.disabled = true;
    setText(this.#cancel.firstChild, text('cancelling'));
    if (hadFocus) this.focus(); // a button loses the focus when it is disabled
    try {
      await this.#follower.cancel(this.#id);
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      this.#say(`${text('not_cancelled')} ${problem.message}`);
    }
    this.#cancel.disabled = false;
    setText(this.#cancel.firstChild, text('cancel'));
  }

  /** Starts the task again: page.js puts the new task's bar on top. If this fails, a sentence says why. */
  async restart() {
    this.#say('');
    this.#restart.disabled = true;
    setText(this.#restart.firstChild, text('restarting'));
    this.focus(); // a button loses the focus when it is disabled
    try {
      const task = await this.#follower.restart(this.#id);
      this.dispatchEvent(new CustomEvent('longtask:restart', { bubbles: true, detail: task }));
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      this.#say(`${text('not_restarted')} ${problem.message}`);
    }
    this.#restart.disabled = false;
    setText(this.#restart.firstChild, text('restart'));
  }

  /** Says that the task was started again, instead of offering it. `id` is that of the new task. */
  startedAgainAs(id) {
    this.#repeatedBy = id;
    if (this.task) this.#draw();
  }

  /** Takes the bar off the page. */
  hide() {
    this.#send('longtask:hide');
    this.remove();
  }

  /** Draws the meter again, after nanobar has been loaded. */
  redraw() {
    this.#meter?.draw();
  }

  /** Whether there is something to cancel: the task, or parts of a failed family. */
  get #isOpen() {
    return !isEnd(this.phase) || goesOn(this.task, this.phase);
  }

  get #follower() {
    return Follower.at(this.#base);
  }

  /** The task's name with the start of its id, to tell bars apart. */
  get #label() {
    return `${nameOfTask(this.task)} ${this.#id.slice(0, 8)}`;
  }

  #build(base, id) {
    [this.#base, this.#id, this.#sentence, this.#known, this.#repeatedBy] = [base, id, null, null, null];
    if (this.dataset.longtaskTask) this.know(parsed(this.dataset.longtaskTask), false); // the server has drawn it
    delete this.dataset.longtaskTask;
    this.#meter = new Meter();
    this.#name = element('strong', '', text('task'));
    this.#percent = element('p', 'longtask-percent');
    this.#cancel = this.#button('cancel', () => this.cancel());
    this.#restart = this.#button('restart', () => this.restart());
    this.#hide = this.#button('hide', () => this.hide());
    this.#word = element('strong', 'longtask-word');
    this.#message = element('span', 'longtask-message');
    this.#facts = element('p', 'longtask-facts');
    this.#result = element('div', 'longtask-result');
    this.#note = element('p', 'longtask-note');
    this.#note.role = 'alert';
    this.#say('');
    this.#parts?.pause(true);
    this.#parts = new Parts(new Server(base), id, { mayChange: () => this.#isOpen });
    this.#parts.element.open = this.querySelector('.longtask-parts[open]') !== null; // as the server has drawn it
    const link = element('a', 'longtask-id', id.slice(0, 8));
    link.href = this.getAttribute('href');
    link.title = text('task_page', { id });
    this.classList.add('longtask');
    this.role = 'article';
    this.tabIndex = -1;
    this.dataset.taskId = id;
    this.replaceChildren(
      element('div', 'longtask-head', element('p', 'longtask-name', this.#name, ' ', link), this.#percent),
      this.#meter.element,
      element('div', 'longtask-body', element('div', 'longtask-buttons', this.#cancel, this.#restart, this.#hide),
        element('p', 'longtask-state', this.#word, ' ', this.#message), this.#result, this.#facts, this.#note,
        this.#parts.element),
    );
  }

  /** Makes a button whose accessible name includes the task, for people who do not see the bar around it. */
  #button(name, onClick) {
    const node = button(onClick, element('span', '', text(name)), element('span', 'longtask-unseen'));
    node.hidden = true;
    return node;
  }

  #tell(task, phase) {
    [this.task, this.phase] = [task, phase];
    this.#draw();
    const isNews = this.#isNews;
    for (const name of isNews ? eventsOf(phase) : ['progress']) {
      this.#send(`longtask:${name}`);
    }
    if (isEnd(phase)) this.#isNews = false;
    if (isNews && isEnd(phase)) announceEnd(`${this.#label}: ${wordOf(task, phase)}.`, phase);
  }

  #send(name) {
    this.dispatchEvent(new CustomEvent(name, { bubbles: true, detail: this.task }));
    this.form?.dispatchEvent(new CustomEvent(name, { detail: this.task }));
  }

  /** Shows a sentence under the bar, such as why the task could not be cancelled. */
  #say(sentence) {
    this.#note.hidden = !sentence;
    setText(this.#note, sentence);
  }

  #draw() {
    const { task, phase } = this;
    const isEnded = isEnd(phase);
    const [word, sentence] = [wordOf(task, phase), sentenceOf(task, phase)];
    this.dataset.phase = phase;
    this.dataset.state = task.state;
    this.toggleAttribute('data-begun', task.percent > 0); // one that waits may have run before
    if (isEnded) this.classList.remove('longtask-stale');
    this.#drawName();
    setText(this.#word, word);
    setText(this.#percent, this.#percentText());
    if (sentence !== this.#sentence) this.#message.replaceChildren(...withLocalTimes(sentence));
    this.#sentence = sentence;
    const percent = text('percent', task);
    this.#meter.show(task.percent, this.#label, [percent, word, sentence].filter(Boolean).join(', '));
    this.#drawFacts();
    this.#parts.count(task.parts);
    if (!this.#result.hasChildNodes()) this.#result.append(...result(task, addressOfResult(this.#base, this.#id)));
    this.#cancel.hidden = !this.#isOpen;
    this.#restart.hidden = phase === 'expired' || !task.restartable || this.#repeatedBy !== null;
    this.#hide.hidden = !isEnded || !this.hasAttribute('hideable');
  }

  /** Called for each status, since a start route may have answered only the id. */
  #drawName() {
    setText(this.#name, nameOfTask(this.task));
    this.ariaLabel = this.#label;
    for (const node of [this.#cancel, this.#restart, this.#hide]) setText(node.lastChild, ` ${this.#label}`);
  }

  #percentText() {
    const { percent, eta } = this.task;
    const left = this.phase === 'running' && typeof eta === 'number' ? `${text('left', { time: duration(eta) })} · ` : '';
    return left + text('percent', { percent });
  }

  #drawFacts() {
    const { submitted, started, finished, attempt, parts } = this.task;
    const openParts = goesOn(this.task, this.phase) ? parts : null;
    const known = [submitted, started, finished, attempt, openParts?.running, openParts?.waiting, this.#repeatedBy].join();
    if (known !== this.#known) {
      const addressOfTask = (id) => addressOf(this.#base, id);
      this.#facts.replaceChildren(...facts(this.task, { openParts, repeatedBy: this.#repeatedBy, addressOf: addressOfTask }));
    }
    this.#known = known;
  }
}
