// What a screen reader is told of where there is nothing to look at: a task has ended, the server is back.

import { element } from './elements.js';

const ANNOUNCEMENT_MS = 10_000;

const region = element('div', 'longtask-unseen');
region.role = 'status';
region.ariaLive = 'polite';

/** Changes are read out only of a region that was there before. */
export function prepareAnnouncements() {
  document.body.append(region);
}

export function announce(sentence) {
  const line = element('p', '', sentence);
  region.append(line);
  setTimeout(() => line.remove(), ANNOUNCEMENT_MS);
}
