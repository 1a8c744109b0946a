// Formats times and durations for people. details.js decides which times a bar shows.

import { locale, text } from '../strings.js';
import { element } from './elements.js';

const ISO_TIME = /\b\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:\d\d)/g;

/** Formats an ISO time as an element in the reader's time zone; returns any other text unchanged. */
export function localTime(iso) {
  const date = new Date(iso);
  if (Number.isNaN(date.getTime())) return iso;
  const today = date.toDateString() === new Date().toDateString();
  const node = element('time', '', format(date, { ...(!today && { dateStyle: 'medium' }), timeStyle: 'medium' }));
  node.dateTime = iso;
  node.title = format(date, { dateStyle: 'full', timeStyle: 'long' });
  return node;
}

function format(date, options) {
  return new Intl.DateTimeFormat(locale(), options).format(date);
}

/** Returns a sentence in pieces, with its ISO times as elements. */
export function withLocalTimes(sentence) {
  const pieces = [];
  let end = 0;
  for (const match of sentence.matchAll(ISO_TIME)) {
    pieces.push(sentence.slice(end, match.index), localTime(match[0]));
    end = match.index + match[0].length;
  }
  return [...pieces, sentence.slice(end)];
}

export function duration(length) {
  const whole = Math.max(1, Math.round(length));
  const [hours, minutes, seconds] = [Math.floor(whole / 3600), Math.floor((whole % 3600) / 60), whole % 60];
  return text(hours ? 'hours' : minutes ? 'minutes' : 'seconds', { hours, minutes, seconds });
}
