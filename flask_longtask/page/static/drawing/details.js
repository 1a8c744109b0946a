// The details under a bar's sentence: times and the result. Functions from a status object to nodes.

import { locale, pieces, text } from '../strings.js';
import { element } from './elements.js';
import { duration, localTime } from './times.js';

const LONG_RESULT = 280; // characters; a longer result is folded

/**
 * `addressOf` returns the address of the task with an id. `openParts` are the counts of a failed family whose other
 * parts go on, else null; `repeatedBy` is the id of the task that repeats this one, or null.
 */
export function facts({ submitted, started, finished, attempt, restart_of: repeated }, { openParts, repeatedBy, addressOf }) {
  const shown = [];
  const counted = (name, count) => count && shown.push([text(name, { count: count.toLocaleString(locale()) })]);
  counted('still_running', openParts?.running);
  counted('still_waiting', openParts?.waiting);
  if (repeatedBy) shown.push(pieces('started_again', { task: linkTo(repeatedBy, addressOf(repeatedBy)) }));
  if (repeated) shown.push(pieces('repeats', { task: linkTo(repeated, addressOf(repeated)) }));
  if (attempt > 1) shown.push(pieces('attempt', { number: attempt }));
  if (submitted) shown.push(pieces('submitted', { time: localTime(submitted) }));
  if (started) shown.push(pieces('started', { time: localTime(started) }));
  if (finished) shown.push(pieces('finished', { time: localTime(finished) }));
  if (started && finished) shown.push(pieces('took', { time: duration((new Date(finished) - new Date(started)) / 1000) }));
  return shown.flatMap((fact) => [element('span', '', ...fact), ' ']);
}

function linkTo(id, href) {
  const link = element('a', '', id.slice(0, 8));
  link.href = href;
  return link;
}

/** Returns the nodes of a result: none without a result, and a link to a result that the status object omits. */
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
