// What is said of a task: its name, the word for its state, and its sentence. Pure functions of its status and phase.

import { beyond } from '../client/status.js';
import { nameOf, nameOfState, text, translated } from '../strings.js';

/** Sentences of the server that say no more than the word for the state. */
const SAYS_NO_MORE = new Set(['Pending...', 'Started']);

export function nameOfTask(task) {
  return task?.task ? nameOf(task.task) : text('task');
}

export function wordOf(task, phase) {
  if (phase === 'expired') return text(absence(task));
  if (phase === 'failed' && !task.attempt && task.status.startsWith('Not started,')) return text('not_started');
  const isOwn = phase === 'ended' || (phase === 'running' && task.state !== 'PROGRESS');
  return isOwn ? nameOfState(task.state) : text(phase);
}

/** The sentence beside the word, which it does not repeat. */
export function sentenceOf(task, phase) {
  if (phase === 'expired') return text(`${absence(task)}_message`);
  if (SAYS_NO_MORE.has(task.status)) return '';
  return beyond(wordOf(task, phase), translated(task.status));
}

/** The text for a task that the server does not know: `expired` if the page has known it, else `unknown`. */
function absence({ submitted }) {
  return submitted ? 'expired' : 'unknown';
}
