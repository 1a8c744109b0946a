// Times and durations as a person reads them. Which times a bar shows is decided in details.js.

import { element } from './elements.js';

const ISO_TIME = /\b\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:\d\d)/g;
const TIME = new Intl.DateTimeFormat(undefined, { timeStyle: 'medium' });
const DATE_AND_TIME = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'medium' });
const IN_FULL = new Intl.DateTimeFormat(undefined, { dateStyle: 'full', timeStyle: 'long' });

/** An ISO time as the reader's own clock has it; any other text as it is. */
export function localTime(iso) {
  const date = new Date(iso);
  if (Number.isNaN(date.getTime())) return iso;
  const today = date.toDateString() === new Date().toDateString();
  const node = element('time', '', (today ? TIME : DATE_AND_TIME).format(date));
  node.dateTime = iso;
  node.title = IN_FULL.format(date);
  return node;
}

/** A sentence in pieces, its ISO times as elements. */
export function withLocalTimes(sentence) {
  const pieces = [];
  let end = 0;
  for (const match of sentence.matchAll(ISO_TIME)) {
    pieces.push(sentence.slice(end, match.index), localTime(match[0]));
    end = match.index + match[0].length;
  }
  return [...pieces, sentence.slice(end)];
}

export function namesFutureTime(sentence) {
  const [time] = sentence.match(ISO_TIME) ?? [];
  return new Date(time) > Date.now();
}

export function duration(seconds) {
  const whole = Math.max(1, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}
