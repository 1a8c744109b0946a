// The element `<long-task href="…">`: the bar of the task at this address. While it is on the page, it follows the
// task, and dispatches an event for each change.

import { Follower } from '../client/follower.js';
import { addressed, addressOfResult, parsed, Problem } from '../client/server.js';
import { beyond, eventsOf, isEnd } from '../client/status.js';
import { nameOf, nameOfState, text, translated } from '../strings.js';
import { announce } from './announcer.js';
import { showBanners } from './banners.js';
import { facts, result } from './details.js';
import { button, element, setText } from './elements.js';
import { Meter } from './meter.js';
import { duration, withLocalTimes } from './times.js';

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
  /** Whether the next status is news to the page, and not one from before a reload. */
  #isNews = true;
  #sentence = null;
  #meter;
  #name;
  #percent;
  #cancel;
  #hide;
  #word;
  #message;
  #facts;
  #result;
  #note;

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
    this.#isNews = true;
  }

  disconnectedCallback() {
    this.#stop?.();
    this.#stop = null;
    this.#isNews = !isEnd(this.phase); // the bar may only be moving to another place
  }

  attributeChangedCallback() {
    if (!this.isConnected) return;
    this.disconnectedCallback();
    this.task = null;
    this.#isNews = true;
    this.connectedCallback();
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

  /** Takes the bar off the page. */
  hide() {
    this.#send('longtask:hide');
    this.remove();
  }

  /** Draws the meter again, after nanobar has been loaded. */
  redraw() {
    this.#meter?.draw();
  }

  get #follower() {
    return Follower.at(this.#base);
  }

  get #nameText() {
    return this.task?.task ? nameOf(this.task.task) : text('task');
  }

  /** The task's name with the start of its id, to tell bars apart. */
  get #label() {
    return `${this.#nameText} ${this.#id.slice(0, 8)}`;
  }

  /** The text for a task that the server does not know: `expired` if the page has known it, else `unknown`. */
  get #absence() {
    return this.task.submitted ? 'expired' : 'unknown';
  }

  get #wordText() {
    if (this.phase === 'expired') return text(this.#absence);
    const isOwn = this.phase === 'ended' || (this.phase === 'running' && this.task.state !== 'PROGRESS');
    return isOwn ? nameOfState(this.task.state) : text(this.phase);
  }

  #build(base, id) {
    [this.#base, this.#id, this.#sentence] = [base, id, null];
    if (this.dataset.longtaskTask) this.know(parsed(this.dataset.longtaskTask), false); // the server has drawn it
    delete this.dataset.longtaskTask;
    this.#meter = new Meter();
    this.#name = element('strong', '', text('task'));
    this.#percent = element('p', 'longtask-percent');
    this.#cancel = this.#button('cancel', () => this.cancel());
    this.#hide = this.#button('hide', () => this.hide());
    this.#word = element('strong', 'longtask-word');
    this.#message = element('span', 'longtask-message');
    this.#facts = element('p', 'longtask-facts');
    this.#result = element('div', 'longtask-result');
    this.#note = element('p', 'longtask-note');
    this.#note.role = 'alert';
    this.#say('');
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
      element('div', 'longtask-body', element('div', 'longtask-buttons', this.#cancel, this.#hide),
        element('p', 'longtask-state', this.#word, ' ', this.#message), this.#result, this.#facts, this.#note),
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
    if (isNews && isEnd(phase)) announce(`${this.#label}: ${this.#wordText}.`);
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
    const word = this.#wordText;
    const sentence = phase === 'expired' ? text(`${this.#absence}_message`) : beyond(word, translated(task.status));
    this.dataset.phase = phase;
    this.dataset.state = task.state;
    if (isEnded) this.classList.remove('longtask-stale');
    this.#drawName();
    setText(this.#word, word);
    setText(this.#percent, this.#percentText());
    if (sentence !== this.#sentence) this.#message.replaceChildren(...withLocalTimes(sentence));
    this.#sentence = sentence;
    const percent = text('percent', task);
    this.#meter.show(task.percent, this.#label, [percent, word, sentence].filter(Boolean).join(', '));
    this.#drawFacts();
    if (!this.#result.hasChildNodes()) this.#result.append(...result(task, addressOfResult(this.#base, this.#id)));
    this.#cancel.hidden = isEnded;
    this.#hide.hidden = !isEnded || !this.hasAttribute('hideable');
  }

  /** Called for each status, since a start route may have answered only the id. */
  #drawName() {
    setText(this.#name, this.#nameText);
    this.ariaLabel = this.#label;
    for (const node of [this.#cancel, this.#hide]) setText(node.lastChild, ` ${this.#label}`);
  }

  #percentText() {
    const { percent, eta } = this.task;
    const left = this.phase === 'running' && typeof eta === 'number' ? `${text('left', { time: duration(eta) })} · ` : '';
    return left + text('percent', { percent });
  }

  #drawFacts() {
    const line = element('p', '', ...facts(this.task));
    if (line.textContent !== this.#facts.textContent) this.#facts.replaceChildren(...line.childNodes);
  }
}
