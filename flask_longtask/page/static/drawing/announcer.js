// Announcements for screen readers: a task has ended, the server is back.

import { element } from './elements.js';

const ANNOUNCEMENT_MS = 10_000;

const region = element('div', 'longtask-unseen');
region.role = 'status';
region.ariaLive = 'polite';

/** Adds the region early: screen readers announce only changes of a region that was already on the page. */
export function prepareAnnouncements() {
  document.body.append(region);
}

export function announce(sentence) {
  const line = element('p', '', sentence);
  region.append(line);
  setTimeout(() => line.remove(), ANNOUNCEMENT_MS);
}
