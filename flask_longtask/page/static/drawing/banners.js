// The banners above the bars: the server is away, no worker is running. The modules in client/ decide when they show.

import { pieces, text } from '../strings.js';
import { announce } from './announcer.js';
import { button, element, setText } from './elements.js';
import { duration, localTime } from './times.js';

const ofFollowers = new WeakMap();

/** Inserts the banners of a server before this node, unless they are already on the page. */
export function showBanners(follower, node) {
  if (!ofFollowers.has(follower)) ofFollowers.set(follower, new Banners(follower));
  const { element: banners } = ofFollowers.get(follower);
  if (!banners.isConnected) node.before(banners);
}

export class Banners {
  /** The command that starts a worker; empty if the app has not given one. */
  static workerCommand = '';

  element = element('div', 'longtask-banners');
  #reason = element('strong', '');
  #more = element('span', '');
  #since = element('span', '');
  #pause = element('span', '');
  #retry;
  #away;
  #workers;
  #countdown = null;

  constructor(follower) {
    this.#retry = button(() => follower.tryNow(), text('try_now'));
    this.#away = this.#banner([this.#reason, ' ', this.#more, ' ', this.#since, ' ', this.#pause], this.#retry);
    const command = Banners.workerCommand;
    const begin = command ? pieces('start_worker_by', { command: element('code', '', command) }) : pieces('start_worker');
    this.#workers = this.#banner([element('strong', '', text('no_worker')), ' ', ...begin]);
    follower.observe(this);
  }

  away(reason, lastSeen, pauseSeconds) {
    const [first, ...more] = reason.split(/(?<=[.!?])\s+/);
    setText(this.#reason, first);
    setText(this.#more, more.join(' '));
    this.#since.replaceChildren(...(lastSeen ? pieces('last_seen', { time: localTime(lastSeen) }) : []));
    if (this.#away.hidden) {
      announce(reason);
      document.dispatchEvent(new Event('longtask:offline'));
    }
    this.#away.hidden = false;
    this.#workers.hidden = true;
    this.#countDown(Math.round(pauseSeconds));
  }

  trying() {
    clearInterval(this.#countdown);
    setText(this.#pause, text('trying'));
    this.#retry.disabled = true;
  }

  back() {
    clearInterval(this.#countdown);
    this.#away.hidden = true;
    announce(text('back'));
    document.dispatchEvent(new Event('longtask:online'));
  }

  noWorker(yes) {
    if (yes && this.#workers.hidden) announce(text('no_worker'));
    this.#workers.hidden = !yes;
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
    const tell = () => setText(this.#pause, text('trying_in', { time: duration(left--) }));
    tell();
    this.#countdown = setInterval(tell, 1000);
  }
}
