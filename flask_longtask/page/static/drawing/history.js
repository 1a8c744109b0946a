// The history on a task's own page: how its attempts ended, and its log lines as they come. The server has drawn what
// it knew; this script goes on from there. Only that page loads it.

import { Follower } from '../client/follower.js';
import { parsed } from '../client/server.js';
import { isEnd } from '../client/status.js';
import { levelName, text, translated } from '../strings.js';
import { announce } from './announcer.js';
import { button, element, setText } from './elements.js';
import { duration, localTime } from './times.js';

const MOST_LINES = 500; // as many as the server keeps
const AT_END = 8; // pixels: who is so near to the end follows it
const COPIED_MS = 2000;

/** The names of the texts for the outcomes of attempts. An attempt without an outcome runs. */
const OUTCOMES = {
  succeeded: 'done', raised: 'failed', retry: 'retried', 'worker lost': 'worker_lost', 'handed back': 'handed_back',
  stalled: 'stalled', cancelled: 'cancelled',
};

class History {
  #address;
  #bar;
  #attempts;
  #log;
  #box;
  #rows;
  #copy;
  #lines = [];
  #source = null;
  #timer = null;
  #isWhole = false; // no event has come yet: what the server has drawn is on the page
  #isComplete = false; // the task had ended before the last event was asked for

  constructor(section) {
    this.#address = section.dataset.longtaskHistory;
    this.#bar = document.querySelector('long-task');
    this.#attempts = section.querySelector('.longtask-attempts');
    this.#log = section.querySelector('.longtask-log');
    this.#box = section.querySelector('.longtask-lines');
    this.#rows = section.querySelector('tbody');
    this.#copy = button(() => this.#copyLines(), text('copy'));
    this.#box.tabIndex = 0;
    this.#toEnd();
    document.addEventListener('visibilitychange', () => this.#visibilityChanged());
    this.#open();
  }

  /** Opens a stream of what the page does not have yet. */
  #open() {
    if (this.#isComplete || document.hidden) return;
    const isLast = isEnd(this.#bar?.phase);
    const url = new URL(this.#address, document.baseURI);
    if (this.#lines.length) url.searchParams.set('after', this.#lines.at(-1).number);
    this.#source = new EventSource(url);
    this.#source.addEventListener('message', ({ data }) => {
      const history = parsed(data);
      this.#take(history);
      // A family may have failed while its own task still runs.
      this.#isComplete = isLast && history.attempts.at(-1)?.outcome !== null;
    });
    this.#source.addEventListener('error', () => this.#lost());
  }

  #close() {
    clearTimeout(this.#timer);
    this.#source?.close();
    this.#source = null;
  }

  /** The stream has ended, with the task or before it. */
  #lost() {
    this.#close();
    if (this.#bar?.phase === 'expired') return;
    this.#timer = setTimeout(() => this.#open(), Follower.pollSeconds * 1000);
  }

  #visibilityChanged() {
    this.#close(); // a browser shares six connections to a server among all its tabs
    this.#open();
  }

  #take({ attempts, lines }) {
    this.#drawAttempts(attempts);
    const isAtEnd = this.#box.scrollHeight - this.#box.scrollTop - this.#box.clientHeight < AT_END;
    if (!this.#isWhole) {
      this.#rows.replaceChildren();
      this.#log.firstElementChild.append(this.#copy); // now there is something to copy
    }
    this.#isWhole = true;
    this.#lines.push(...lines);
    this.#rows.append(...lines.map(row));
    if (isAtEnd && this.#lines.length > MOST_LINES) {
      // Not while somebody reads them.
      const old = this.#lines.splice(0, this.#lines.length - MOST_LINES).length;
      for (let number = 0; number < old; number += 1) this.#rows.firstElementChild.remove();
    }
    this.#log.hidden = this.#lines.length === 0;
    this.#log.classList.toggle('longtask-tried-again', attempts.length > 1);
    if (isAtEnd) this.#toEnd();
  }

  #drawAttempts(attempts) {
    // Of one attempt that still runs, the bar says all.
    this.#attempts.hidden = attempts.length < 2 && !attempts.at(-1)?.outcome;
    const items = element('ol', '', ...attempts.map(item));
    const list = this.#attempts.querySelector('ol');
    if (list.textContent !== items.textContent) list.replaceChildren(...items.childNodes);
  }

  #toEnd() {
    this.#box.scrollTop = this.#box.scrollHeight;
  }

  async #copyLines() {
    const isSeveral = this.#lines.some(({ attempt }) => attempt > 1);
    const lines = this.#lines.map(({ time, level, attempt, text: line }) =>
      [time ?? '', level, ...(isSeveral ? [attempt] : []), line].join('\t'));
    await copy(`${lines.join('\n')}\n`);
    setText(this.#copy, text('copied'));
    announce(text('copied'));
    setTimeout(() => setText(this.#copy, text('copy')), COPIED_MS);
  }
}

function item({ number, started, finished, worker, outcome, error }) {
  const word = text(outcome ? OUTCOMES[outcome] : 'running');
  const facts = [];
  if (started) facts.push(element('span', '', localTime(started)));
  if (started && finished) {
    facts.push(element('span', '', text('took', { time: duration((new Date(finished) - new Date(started)) / 1000) })));
  }
  if (worker) facts.push(element('span', '', worker));
  const node = element('li', '',
    element('strong', '', text('attempt', { number })), ' ',
    element('span', 'longtask-outcome', error ? `${word}: ${translated(error)}` : word), ' ',
    element('span', 'longtask-facts', ...facts.flatMap((fact) => [fact, ' '])));
  node.dataset.outcome = outcome ?? 'running';
  return node;
}

function row({ time, level, attempt, text: line }) {
  const number = element('td', '', String(attempt));
  number.title = text('attempt', { number: attempt });
  const node = element('tr', '',
    element('td', '', ...(time ? [localTime(time)] : [])), element('td', '', levelName(level)), number,
    element('td', '', line));
  node.dataset.level = level;
  return node;
}

async function copy(lines) {
  try {
    await navigator.clipboard.writeText(lines);
  } catch { // not allowed, or the page does not come by https
    const area = element('textarea', 'longtask-unseen', lines);
    document.body.append(area);
    area.select();
    document.execCommand('copy');
    area.remove();
  }
}

// The bar knows from then on whether the task has ended, and the page has replaced its texts.
await customElements.whenDefined('long-task');
new History(document.querySelector('[data-longtask-history]'));
