// What stands under a bar's sentence: when things happened, and the result. A status object in, nodes out.

import { locale, pieces, text } from '../strings.js';
import { element } from './elements.js';
import { duration, localTime } from './times.js';

const LONG_RESULT = 280; // characters shown before the rest is folded away

export function facts({ submitted, started, finished, attempt }) {
  const told = [];
  if (attempt > 1) told.push(pieces('attempt', { number: attempt }));
  if (submitted) told.push(pieces('submitted', { time: localTime(submitted) }));
  if (started) told.push(pieces('started', { time: localTime(started) }));
  if (finished) told.push(pieces('finished', { time: localTime(finished) }));
  if (started && finished) told.push(pieces('took', { time: duration((new Date(finished) - new Date(started)) / 1000) }));
  return told.flatMap((fact) => [element('span', '', ...fact), ' ']);
}

/** Nothing where there is none; a link to one that is too large to be sent with every status. */
export function result({ state, result: value, result_bytes: bytes }, href) {
  const label = element('span', 'longtask-label', text('result'));
  if (bytes) {
    const size = (bytes / 1e6).toLocaleString(locale(), { maximumFractionDigits: 1 });
    const link = element('a', 'longtask-value', text('megabytes', { size }));
    link.href = href;
    return [label, ' ', link];
  }
  if (state !== 'SUCCESS' || value === null || value === undefined) return [];
  const whole = typeof value === 'string' ? value : JSON.stringify(value, null, 2);
  const shown = element(whole.includes('\n') ? 'pre' : 'p', 'longtask-value', whole);
  if (whole.length <= LONG_RESULT) return [label, ' ', shown];
  const count = whole.length.toLocaleString(locale());
  const summary = element('summary', '', label, ' ',
    element('span', 'longtask-glimpse', `${whole.slice(0, LONG_RESULT / 2)}…`), ' ',
    element('span', 'longtask-more', text('characters', { count })));
  return [element('details', '', summary, shown)];
}
