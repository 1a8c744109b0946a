// What the page says beside the bars: the calm sentences above them (the server is away, no worker is running), and
// what a screen reader is told. When to say it is decided in client/.

import { button, element, setText } from './elements.js';
import { duration, localTime } from './times.js';

const ANNOUNCEMENT_MS = 10_000;

export class Banners {
  element = element('div', 'longtask-banners');
  #reason = element('strong', '');
  #more = element('span', '');
  #since = element('span', '');
  #pause = element('span', '');
  #retry;
  #away;
  #workers;
  #countdown = null;

  constructor({ retry, workerCommand }) {
    this.#retry = button(retry, 'Try now');
    this.#away = this.#banner([this.#reason, ' ', this.#more, ' ', this.#since, ' ', this.#pause], this.#retry);
    this.#workers = this.#banner([element('strong', '', 'No worker is running,'),
      ' so the waiting tasks cannot begin. They begin by themselves once one is started: ',
      element('code', '', workerCommand)]);
  }

  away(reason, lastSeen, pauseSeconds) {
    const [first, ...more] = reason.split(/(?<=[.!?])\s+/);
    setText(this.#reason, first);
    setText(this.#more, more.join(' '));
    this.#since.replaceChildren(...(lastSeen ? ['The bars show what was known at ', localTime(lastSeen), '.'] : []));
    this.#away.hidden = false;
    this.#workers.hidden = true;
    this.#countDown(Math.round(pauseSeconds));
  }

  trying() {
    clearInterval(this.#countdown);
    setText(this.#pause, 'Trying again…');
    this.#retry.disabled = true;
  }

  back() {
    clearInterval(this.#countdown);
    this.#away.hidden = true;
  }

  set noWorker(yes) {
    this.#workers.hidden = !yes;
  }

  get noWorker() {
    return !this.#workers.hidden;
  }

  #banner(sentences, ...buttons) {
    const banner = element('div', 'longtask-banner', element('p', '', ...sentences), ...buttons);
    banner.hidden = true;
    this.element.append(banner);
    return banner;
  }

  #countDown(seconds) {
    clearInterval(this.#countdown);
    this.#retry.disabled = false;
    let left = seconds;
    const tell = () => setText(this.#pause, `Trying again in ${duration(left--)}.`);
    tell();
    this.#countdown = setInterval(tell, 1000);
  }
}

/** For what has changed where there is nothing to look at: a task has ended, the server is back. */
export class Announcer {
  element = element('div', 'longtask-unseen');

  constructor() {
    this.element.role = 'status';
    this.element.ariaLive = 'polite';
  }

  say(sentence) {
    const line = element('p', '', sentence);
    this.element.append(line);
    setTimeout(() => line.remove(), ANNOUNCEMENT_MS);
  }
}
