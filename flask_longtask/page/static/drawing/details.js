// What stands under a bar's sentence: when things happened, and the result. A status object in, nodes out.

import { element } from './elements.js';
import { duration, localTime } from './times.js';

const LONG_RESULT = 280; // characters shown before the rest is folded away

export function facts({ submitted, started, finished, attempt }) {
  const told = [];
  if (attempt > 1) told.push([`Attempt ${attempt}`]);
  if (submitted) told.push(['Submitted ', localTime(submitted)]);
  if (started) told.push(['Started ', localTime(started)]);
  if (finished) told.push(['Finished ', localTime(finished)]);
  if (started && finished) told.push([`Took ${duration((new Date(finished) - new Date(started)) / 1000)}`]);
  return told.flatMap((fact) => [element('span', '', ...fact), ' ']);
}

/** Nothing where there is none; a link to one that is too large to be sent with every status. */
export function result({ state, result: value, result_bytes: bytes }, href) {
  if (bytes) {
    const link = element('a', 'longtask-value', `${(bytes / 1e6).toLocaleString(undefined, { maximumFractionDigits: 1 })} MB`);
    link.href = href;
    return [element('span', 'longtask-label', 'Result'), ' ', link];
  }
  if (state !== 'SUCCESS' || value === null || value === undefined) return [];
  const text = typeof value === 'string' ? value : JSON.stringify(value, null, 2);
  const label = element('span', 'longtask-label', 'Result');
  const shown = element(text.includes('\n') ? 'pre' : 'p', 'longtask-value', text);
  if (text.length <= LONG_RESULT) return [label, ' ', shown];
  const summary = element('summary', '', label, ' ',
    element('span', 'longtask-glimpse', `${text.slice(0, LONG_RESULT / 2)}…`), ' ',
    element('span', 'longtask-more', `all ${text.length.toLocaleString()} characters`));
  return [element('details', '', summary, shown)];
}
