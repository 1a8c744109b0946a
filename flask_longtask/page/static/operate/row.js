// A task on the operators' page, on two lines: what it is, how far it is, and the buttons to cancel it or to start it
// again.

import { addressOf, HERE, Problem } from '../client/server.js';
import { goesOn, isEnd, phaseOf } from '../client/status.js';
import { button, element, setText } from '../drawing/elements.js';
import { Meter } from '../drawing/meter.js';
import { duration, localTime, withLocalTimes } from '../drawing/times.js';
import { nameOfTask, sentenceOf, wordOf } from '../drawing/words.js';
import { locale, pieces, text } from '../strings.js';

/** The name of a task, and the first characters of its id. */
export function labelOf(task) {
  return `${nameOfTask(task)} ${task.task_id.slice(0, 8)}`;
}

function linkTo(id) {
  const link = element('a', 'longtask-id', id.slice(0, 8));
  link.href = addressOf(HERE, id);
  return link;
}

export class Row {
  element;
  #id;
  #task = null;
  #meter = new Meter();
  #name = element('strong', '');
  #of = element('p', 'operate-of');
  #word = element('strong', 'longtask-word');
  #message = element('span', 'longtask-message');
  #percent = element('p', 'longtask-percent');
  #when = element('p', 'operate-when');
  #note = element('p', 'longtask-note');
  #cancel;
  #restart;
  #act;

  /** `act(id, method, path)` asks the server to do something with the task, and returns its status or throws a Problem. */
  constructor(task, act) {
    this.#id = task.task_id;
    this.#act = act;
    this.#cancel = this.#button('cancel', 'cancelling', 'not_cancelled', () => this.#cancelTask());
    this.#restart = this.#button('restart', 'restarting', 'not_restarted', () => this.#restartTask());
    this.#note.role = 'alert';
    this.#note.hidden = true;
    const link = linkTo(this.#id);
    link.title = text('task_page', { id: this.#id });
    this.element = element('article', 'longtask operate-task',
      element('p', 'longtask-name', this.#name, ' ', link), this.#of,
      element('p', 'longtask-state', this.#word, ' ', this.#message), this.#meter.element,
      this.#percent, this.#when, element('div', 'operate-actions', this.#cancel, this.#restart), this.#note);
    this.element.tabIndex = -1;
    this.element.dataset.taskId = this.#id;
  }

  update(task) {
    if (JSON.stringify(task) === JSON.stringify(this.#task)) return;
    this.#task = task;
    const phase = phaseOf(task);
    const [word, sentence] = [wordOf(task, phase), sentenceOf(task, phase)];
    this.element.dataset.phase = phase;
    this.element.ariaLabel = labelOf(task);
    setText(this.#name, nameOfTask(task));
    setText(this.#word, word);
    if (sentence !== this.#message.title) this.#message.replaceChildren(...withLocalTimes(sentence));
    this.#message.title = sentence;
    this.#drawOf(task);
    this.#drawTimes(task, phase);
    this.#meter.show(task.percent, labelOf(task), [text('percent', task), word, sentence].filter(Boolean).join(', '));
    for (const node of [this.#cancel, this.#restart]) setText(node.lastChild, ` ${labelOf(task)}`);
    this.#cancel.hidden = isEnd(phase) && !goesOn(task, phase);
    this.#restart.hidden = !task.restartable;
  }

  /** Draws the meter again, after nanobar has been loaded. */
  redraw() {
    this.#meter.draw();
  }

  #drawOf({ parts, queue, owner, restart_of: earlier }) {
    const shown = [];
    if (parts) {
      const link = element('a', '', text('operate_parts', { count: parts.total.toLocaleString(locale()) }));
      link.href = addressOf(HERE, this.#id);
      shown.push(element('span', '', link), ' ');
    }
    if (queue) shown.push(element('span', '', queue), ' ');
    if (earlier) shown.push(element('span', '', ...pieces('repeats', { task: linkTo(earlier) })), ' ');
    if (owner) shown.push(element('span', '', text('operate_owner', { owner })));
    this.#of.replaceChildren(...shown);
  }

  #drawTimes(task, phase) {
    const { percent, eta, submitted, started, finished } = task;
    const left = phase === 'running' && typeof eta === 'number' ? `${text('left', { time: duration(eta) })} · ` : '';
    setText(this.#percent, left + text('percent', { percent }));
    const [name, time] = [['finished', finished], ['started', started], ['submitted', submitted]].find(([, at]) => at) ?? [];
    this.#when.replaceChildren(...(time ? pieces(name, { time: localTime(time) }) : []));
  }

  async #cancelTask() {
    const task = await this.#act(this.#id, 'DELETE', '');
    if (task) this.update({ ...this.#task, ...task });
  }

  async #restartTask() {
    const task = await this.#act(this.#id, 'POST', '/restart');
    if (task) this.#say(...pieces('operate_started_again', { task: linkTo(task.task_id) }));
  }

  /** Makes a button that does something with the task. Its accessible name includes the task. */
  #button(label, meanwhile, failed, onClick) {
    const node = button(async () => {
      this.#say();
      const hadFocus = document.activeElement === node;
      node.disabled = true;
      if (hadFocus) this.element.focus(); // a button loses the focus when it is disabled
      setText(node.firstChild, text(meanwhile));
      try {
        await onClick();
      } catch (problem) {
        if (!(problem instanceof Problem)) throw problem;
        this.#say(`${text(failed)} ${problem.message}`);
      }
      node.disabled = false;
      setText(node.firstChild, text(label));
    }, element('span', '', text(label)), element('span', 'longtask-unseen'));
    return node;
  }

  #say(...sentence) {
    this.#note.hidden = sentence.length === 0;
    this.#note.replaceChildren(...sentence);
  }
}
