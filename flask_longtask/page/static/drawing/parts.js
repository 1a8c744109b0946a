// The parts of a family, under its bar: one line for each, as soon as somebody opens them.

import { PartsReader } from '../client/parts.js';
import { addressOf } from '../client/server.js';
import { phaseOf } from '../client/status.js';
import { isInUse } from '../overview/order.js';
import { locale, text } from '../strings.js';
import { button, element, setText } from './elements.js';
import { withLocalTimes } from './times.js';
import { nameOfTask, sentenceOf, wordOf } from './words.js';

const SHORT_RESULT = 60; // characters; a longer one is on the part's own page

export class Parts {
  element = element('details', 'longtask-parts');
  #summary = element('summary', '');
  #list = element('ul', '');
  #more;
  #total = 0;
  #rows = new Map();
  #reader;
  #server;
  #familyId;

  constructor(server, familyId, { mayChange }) {
    [this.#server, this.#familyId] = [server, familyId];
    this.#reader = new PartsReader(server, familyId, { mayChange, tell: (parts, hasMore) => this.#draw(parts, hasMore) });
    this.#more = button(() => this.#showMore(), text('show_more'));
    this.#more.hidden = true;
    this.element.hidden = true;
    this.element.append(this.#summary, this.#list, this.#more);
    this.element.addEventListener('toggle', () => {
      if (this.element.open) this.#reader.open();
      else this.#reader.close();
    });
  }

  /** Shows how many parts there are: null for a task that is no family. */
  count(parts) {
    this.element.hidden = !parts;
    if (!parts) return;
    this.#total = parts.total;
    const words = this.#total === 1 ? text('one_part') : text('parts', { count: this.#total.toLocaleString(locale()) });
    setText(this.#summary, words);
  }

  /** Stops reading them, or goes on: the bar has left the page, or is there again. */
  pause(yes) {
    if (yes) this.#reader.close();
    else if (this.element.open) this.#reader.open();
  }

  async #showMore() {
    const known = this.#rows;
    await this.#reader.more();
    if (!this.#more.hidden) return; // it keeps the focus
    const [first] = [...this.#rows].filter(([id]) => !known.has(id)).map(([, row]) => row);
    first?.element.querySelector('a')?.focus();
  }

  #draw(parts, hasMore) {
    const rows = new Map(parts.map((task) => [task.task_id, this.#rows.get(task.task_id) ?? new Row(this.#server, this.#familyId, task)]));
    for (const task of parts) rows.get(task.task_id).draw(task);
    for (const [id, row] of this.#rows) {
      if (rows.has(id)) continue;
      if (row.element.contains(document.activeElement)) rows.set(id, row);
      else row.element.remove();
    }
    this.#rows = rows;
    const nodes = [...rows.values()].map((row) => row.element);
    // While it is being read, a line stays where it is.
    if (isInUse(this.#list) || this.#list.contains(document.activeElement)) this.#list.append(...nodes.filter((node) => !node.isConnected));
    else nodes.forEach((node, index) => this.#list.children[index] === node || this.#list.insertBefore(node, this.#list.children[index] ?? null));
    this.#more.hidden = !hasMore || rows.size >= this.#total;
  }
}

class Row {
  element = element('li', 'longtask-part');
  #word = element('strong', 'longtask-word');
  #message = element('span', 'longtask-message');
  #result = element('span', 'longtask-result');
  #percent = element('span', 'longtask-percent');
  #sentence = null;

  constructor({ base }, familyId, task) {
    const id = task.task_id;
    // The page of a part that has the id of its family is the page of the family.
    const name = element(id === familyId ? 'span' : 'a', 'longtask-id', id.slice(0, 8));
    if (id !== familyId) {
      name.href = addressOf(base, id);
      name.title = text('task_page', { id });
    }
    this.element.append(
      element('span', 'longtask-number', task.part === null ? '' : String(task.part)), ' ',
      element('span', 'longtask-name', element('strong', '', nameOfTask(task)), ' ', name), ' ',
      element('span', 'longtask-state', this.#word, ' ', this.#message, ' ', this.#result), ' ', this.#percent,
    );
  }

  draw(task) {
    const phase = phaseOf(task);
    const sentence = sentenceOf(task, phase);
    this.element.dataset.phase = phase;
    setText(this.#word, wordOf(task, phase));
    setText(this.#percent, ['waiting', 'scheduled'].includes(phase) && task.percent === 0 ? '' : text('percent', task));
    if (sentence !== this.#sentence) this.#message.replaceChildren(...withLocalTimes(sentence));
    this.#sentence = sentence;
    if (!this.#result.hasChildNodes()) this.#result.append(...shortResult(task));
  }
}

function shortResult({ state, result }) {
  if (state !== 'SUCCESS' || result === null) return [];
  const whole = typeof result === 'string' ? result : JSON.stringify(result);
  if (whole.length > SHORT_RESULT || whole.includes('\n')) return [];
  return [element('span', 'longtask-label', text('result')), ' ', whole];
}
