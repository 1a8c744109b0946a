// What several tasks add up to, in numbers and in words: "2 running, 13 waiting". Pure functions of data.

import { locale, text } from '../strings.js';

const KIND_OF_PHASE = {
  running: 'running', waiting: 'waiting', retry: 'waiting', scheduled: 'scheduled',
  done: 'done', failed: 'failed', ended: 'failed', cancelled: 'cancelled',
};
const OPEN = ['running', 'waiting', 'scheduled'];
const ENDED = ['done', 'failed', 'cancelled'];

/** Counts phases: `{ running: 2, waiting: 13 }`. A task that the server no longer knows counts as nothing. */
export function sumOf(phases) {
  const sum = {};
  for (const phase of phases) {
    const kind = KIND_OF_PHASE[phase];
    if (kind) sum[kind] = (sum[kind] ?? 0) + 1;
  }
  return sum;
}

/** Says such a sum, or only these kinds of it; empty if there are none. */
export function sumInWords(sum, kinds = [...OPEN, ...ENDED]) {
  return kinds
    .filter((kind) => sum[kind])
    .map((kind) => text(`sum_${kind}`, { count: sum[kind].toLocaleString(locale()) }).replaceAll(' ', '\u00a0'))
    .join(', ');
}
