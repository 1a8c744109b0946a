// What a status object means: the phase a bar is in, and the words for it. Data in, words out; no elements.

import { namesFutureTime } from './times.js';

const PHASE_OF_END = {
  SUCCESS: 'done', FAILURE: 'failed', REVOKED: 'cancelled', IGNORED: 'ended', REJECTED: 'ended', UNREADABLE: 'ended',
};
const ENDS = new Set([...Object.values(PHASE_OF_END), 'expired']);
const WORDS = {
  waiting: 'Waiting', scheduled: 'Scheduled', running: 'Running', retry: 'Waiting to retry',
  done: 'Done', failed: 'Failed', cancelled: 'Cancelled', expired: 'Expired',
};

/** Start routes may answer less than a whole status object, at least the id. */
export function wholeStatus(task) {
  return { state: 'PENDING', status: '', percent: 0, ...task };
}

export function phaseOf(task) {
  if (Object.hasOwn(PHASE_OF_END, task.state)) return PHASE_OF_END[task.state];
  if (task.finished) return 'ended';
  if (task.state === 'RETRY') return 'retry';
  if (task.state !== 'PENDING') return 'running';
  return namesFutureTime(task.status) ? 'scheduled' : 'waiting';
}

export function isEnd(phase) {
  return ENDS.has(phase);
}

/** The word for its state: ours for the states we know, the task's own for a custom one. */
export function wordFor(phase, state) {
  const custom = phase === 'ended' || (phase === 'running' && state !== 'PROGRESS');
  return custom ? inWords(state) : WORDS[phase];
}

/** What a task's sentence says beyond the word for its state, which stands in front of it. */
export function beyond(word, sentence) {
  if (sentence === 'Pending...') return '';
  const rest = sentence.slice(word.length);
  const saysItAgain = sentence.startsWith(word) && !/^\p{L}/u.test(rest);
  return saysItAgain ? rest.replace(/^[\s.,:;]+/, '') : sentence;
}

/** `long_task` and `LONG_TASK` to "Long task". */
export function inWords(name) {
  const words = name.replaceAll('_', ' ').trim().toLowerCase();
  return words.charAt(0).toUpperCase() + words.slice(1);
}
