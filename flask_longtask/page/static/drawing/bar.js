// One task's place on the page: `show()` draws a status object. It sends no request; its buttons call the functions that it was given.

import { facts, result } from './details.js';
import { button, element, setText } from './elements.js';
import { Meter } from './meter.js';
import { beyond, inWords, isEnd, phaseOf, wordFor } from './status.js';
import { duration, withLocalTimes } from './times.js';

const EXPIRED =
  'The server no longer knows this task: what it kept about it has expired or was deleted. This is the last that was seen.';

export class Bar {
  element = element('article', 'longtask');
  /** The status object last drawn, and what it means. */
  task = {};
  phase = '';
  /** When this page first saw the task wait, by the page's own clock; null while it does not. */
  waitingSince = null;

  #meter = new Meter();
  #name = element('strong', '');
  #percent = element('p', 'longtask-percent');
  #buttons = element('div', 'longtask-buttons');
  #word = element('strong', 'longtask-word');
  #message = element('span', 'longtask-message');
  #facts = element('p', 'longtask-facts');
  #result = element('div', 'longtask-result');
  #note = element('p', 'longtask-note');
  #resultHref;
  #cancel;
  #remove;
  #sentence = null;

  /** `cancel` and `remove` are called for the buttons; without `remove` a finished bar stays. */
  constructor(task, { href, resultHref, cancel, remove }) {
    this.id = task.task_id;
    this.#resultHref = resultHref;
    this.#cancel = this.#addButton('Cancel', cancel);
    this.#remove = remove && this.#addButton('Hide', remove);
    this.#build(href);
    this.show(task);
  }

  get ended() {
    return isEnd(this.phase);
  }

  get name() {
    return this.task.task ? inWords(this.task.task) : 'Task';
  }

  /** The name that tells it from its neighbours. */
  get label() {
    return `${this.name} ${this.id.slice(0, 8)}`;
  }

  get word() {
    return wordFor(this.phase, this.task.state);
  }

  /** Draws a status object. True if it says anything new. */
  show(task) {
    const changed = JSON.stringify(task) !== JSON.stringify(this.task);
    this.task = task;
    this.#enter(phaseOf(task));
    this.#draw(beyond(this.word, task.status));
    return changed;
  }

  /** The server has forgotten the task: say so, and leave the rest as it was last seen. */
  expire() {
    this.#enter('expired');
    this.#draw(EXPIRED);
  }

  /** While a cancel request is on its way. */
  cancelling(yes) {
    const hadFocus = document.activeElement === this.#cancel;
    this.#cancel.disabled = yes;
    setText(this.#cancel.firstChild, yes ? 'Cancelling…' : 'Cancel');
    if (hadFocus) this.element.focus(); // a disabled button would drop the keyboard's place
  }

  /** A sentence under the bar, such as why it could not be cancelled. */
  note(sentence) {
    this.#note.hidden = !sentence;
    setText(this.#note, sentence);
  }

  redraw() {
    this.#meter.draw();
  }

  #build(href) {
    const link = element('a', 'longtask-id', this.id.slice(0, 8));
    link.href = href;
    link.title = `The page of this task, ${this.id}`;
    this.#note.role = 'alert';
    this.#note.hidden = true;
    this.element.tabIndex = -1;
    this.element.dataset.taskId = this.id;
    this.element.append(
      element('div', 'longtask-head', element('p', 'longtask-name', this.#name, ' ', link), this.#percent),
      this.#meter.element,
      element('div', 'longtask-body', this.#buttons,
        element('p', 'longtask-state', this.#word, ' ', this.#message), this.#result, this.#facts, this.#note),
    );
  }

  /** A button whose name says, to who does not see the bar around it, what it is for. */
  #addButton(label, onClick) {
    const added = button(() => onClick(this.id), element('span', '', label), element('span', 'longtask-unseen'));
    this.#buttons.append(added);
    return added;
  }

  #enter(phase) {
    this.phase = phase;
    this.waitingSince = phase === 'waiting' ? this.waitingSince ?? performance.now() : null;
    this.element.dataset.phase = phase;
    this.element.dataset.state = this.task.state;
  }

  #draw(sentence) {
    const { percent } = this.task;
    this.#drawName();
    setText(this.#word, this.word);
    setText(this.#percent, this.#percentText());
    if (sentence !== this.#sentence) this.#message.replaceChildren(...withLocalTimes(sentence));
    this.#sentence = sentence;
    this.#meter.show(percent, this.label, [`${percent}%`, this.word, sentence].filter(Boolean).join(', '));
    this.#drawFacts();
    if (!this.#result.hasChildNodes()) this.#result.append(...result(this.task, this.#resultHref));
    this.#cancel.hidden = this.ended;
    if (this.#remove) this.#remove.hidden = !this.ended;
  }

  /** With each refresh: a start route may have answered only the id. */
  #drawName() {
    setText(this.#name, this.name);
    this.element.ariaLabel = this.label;
    for (const node of this.#buttons.querySelectorAll('.longtask-unseen')) setText(node, ` ${this.label}`);
  }

  #percentText() {
    const { percent, eta } = this.task;
    const left = this.phase === 'running' && typeof eta === 'number' ? `${duration(eta)} left · ` : '';
    return `${left}${percent}%`;
  }

  #drawFacts() {
    const line = element('p', '', ...facts(this.task));
    if (line.textContent !== this.#facts.textContent) this.#facts.replaceChildren(...line.childNodes);
  }
}
