// Reads status objects: the phase of the bar, its events and its sentence. Pure functions of data.

const PHASE_OF_END = {
  SUCCESS: 'done', FAILURE: 'failed', REVOKED: 'cancelled', IGNORED: 'ended', REJECTED: 'ended', UNREADABLE: 'ended',
};
const EVENT_OF_END = { done: 'success', failed: 'failure', ended: 'failure', cancelled: 'cancelled', expired: 'expired' };

/** Completes a status object: a start route may answer only some of its fields, at least the id. */
export function wholeStatus(task) {
  return { state: 'PENDING', status: '', percent: 0, ...task };
}

export function phaseOf({ state, status, finished }) {
  if (Object.hasOwn(PHASE_OF_END, state)) return PHASE_OF_END[state];
  if (finished) return 'ended';
  if (state === 'RETRY') return 'retry';
  if (state !== 'PENDING') return 'running';
  // The server's own words: by its clock, and not by this computer's, which may be wrong.
  return status.startsWith('Scheduled ') ? 'scheduled' : 'waiting';
}

export function isEnd(phase) {
  return Object.hasOwn(EVENT_OF_END, phase);
}

/** Whether parts of a family that has failed still wait or run. */
export function goesOn({ parts }, phase) {
  return phase === 'failed' && Boolean(parts) && parts.waiting + parts.running > 0;
}

/** Returns the names of the events to send when a task is in this phase. */
export function eventsOf(phase) {
  return isEnd(phase) ? ['progress', EVENT_OF_END[phase], 'end'] : ['progress'];
}

/** Removes the word for the task's state from the start of a sentence, since the bar shows the word before it. */
export function beyond(word, sentence) {
  const rest = sentence.slice(word.length);
  const saysItAgain = sentence.startsWith(word) && !/^\p{L}/u.test(rest);
  return saysItAgain ? rest.replace(/^[\s.,:;]+/, '') : sentence;
}
