// Announcements for screen readers: a task has ended, the server is back.

import { text } from '../strings.js';
import { element } from './elements.js';
import { sumInWords, sumOf } from './sum.js';

const ANNOUNCEMENT_MS = 10_000;
const GATHERED_MS = 500; // ends within this time are announced together
const MOST_NAMED = 2; // of more tasks that end at once, only the sum is announced

const region = element('div', 'longtask-unseen');
region.role = 'status';
region.ariaLive = 'polite';

const ends = [];

/** Adds the region early: screen readers announce only changes of a region that was already on the page. */
export function prepareAnnouncements() {
  document.body.append(region);
}

export function announce(sentence) {
  const line = element('p', '', sentence);
  region.append(line);
  setTimeout(() => line.remove(), ANNOUNCEMENT_MS);
}

/** Announces the end of a task in this phase. */
export function announceEnd(sentence, phase) {
  if (ends.push({ sentence, phase }) > 1) return;
  setTimeout(() => {
    const all = ends.splice(0);
    if (all.length <= MOST_NAMED) all.forEach((end) => announce(end.sentence));
    else announce(`${text('many_ended', { count: all.length })}: ${sumInWords(sumOf(all.map((end) => end.phase)))}.`);
  }, GATHERED_MS);
}
