// The workers and the queues beside the tasks of the operators' page.

import { addressOf, HERE } from '../client/server.js';
import { phaseOf } from '../client/status.js';
import { element, setText } from '../drawing/elements.js';
import { Meter } from '../drawing/meter.js';
import { duration } from '../drawing/times.js';
import { locale, text } from '../strings.js';
import { keep, shownIn } from './keyed.js';
import { labelOf } from './row.js';

export function inDigits(number) {
  return number.toLocaleString(locale());
}

export function drawSides({ workers, queues }) {
  keep(document.getElementById('operate-workers'), workers, (worker) => worker.id, () => new Worker());
  keep(document.getElementById('operate-queues'), queues, (queue) => queue.name, () => new Queue());
}

/** A worker, with what it runs. */
class Worker {
  #name = element('strong', '');
  #queues = element('span', 'operate-queues');
  #load = element('span', 'operate-load');
  #tasks = element('ul', 'operate-list');
  #more = element('p', 'operate-more');
  element = element('li', 'operate-worker',
    element('p', '', this.#name, ' ', this.#queues, ' ', this.#load), this.#tasks, this.#more);

  update({ name, alive, silent_for: silent, queues, running, tasks }) {
    this.element.dataset.alive = alive;
    setText(this.#name, name);
    setText(this.#queues, queues.length ? text('operate_serves', { queues: queues.join(', ') }) : text('operate_serves_none'));
    const load = running ? text('operate_runs', { count: inDigits(running) }) : text('operate_idle');
    setText(this.#load, alive ? load : text('operate_silent', { time: duration(silent) }));
    keep(this.#tasks, tasks, (task) => task.task_id, () => new Run());
    const more = running - tasks.length;
    setText(this.#more, more > 0 ? text('operate_runs_more', { count: inDigits(more) }) : '');
  }

  redraw() {
    shownIn(this.#tasks).forEach((run) => run.redraw());
  }
}

/** A task that a worker runs. */
class Run {
  #link = element('a', '');
  #percent = element('span', 'operate-percent');
  #meter = new Meter();
  element = element('li', 'operate-run longtask', this.#link, this.#meter.element, this.#percent);

  update(task) {
    const label = labelOf(task);
    this.element.dataset.phase = phaseOf(task);
    this.#link.href = addressOf(HERE, task.task_id);
    this.#link.title = task.status;
    setText(this.#link, label);
    setText(this.#percent, text('percent', task));
    this.#meter.show(task.percent, label, text('percent', task));
  }

  redraw() {
    this.#meter.draw();
  }
}

class Queue {
  #name = element('th', '');
  #waiting = element('td', '');
  #oldest = element('td', '');
  #workers = element('td', '');
  element = element('tr', '', this.#name, this.#waiting, this.#oldest, this.#workers);

  constructor() {
    this.#name.scope = 'row';
  }

  update({ name, waiting, oldest, workers }) {
    this.element.dataset.stuck = waiting > 0 && workers.length === 0;
    setText(this.#name, name);
    setText(this.#waiting, inDigits(waiting));
    setText(this.#oldest, oldest === null ? '–' : duration(oldest));
    setText(this.#workers, workers.length ? inDigits(workers.length) : text('operate_none'));
    this.#workers.title = workers.join(', ');
  }
}
