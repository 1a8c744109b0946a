// What a status object means: the phase its bar is in, and what it says beyond that. Data in, data out.

const PHASE_OF_END = {
  SUCCESS: 'done', FAILURE: 'failed', REVOKED: 'cancelled', IGNORED: 'ended', REJECTED: 'ended', UNREADABLE: 'ended',
};
const EVENT_OF_END = { done: 'success', failed: 'failure', ended: 'failure', cancelled: 'cancelled', expired: 'expired' };
const ISO_TIME = /\b\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:\d\d)/;

/** Start routes may answer less than a whole status object, at least the id. */
export function wholeStatus(task) {
  return { state: 'PENDING', status: '', percent: 0, ...task };
}

export function phaseOf({ state, status, finished }) {
  if (Object.hasOwn(PHASE_OF_END, state)) return PHASE_OF_END[state];
  if (finished) return 'ended';
  if (state === 'RETRY') return 'retry';
  if (state !== 'PENDING') return 'running';
  const [time] = status.match(ISO_TIME) ?? [];
  return new Date(time) > Date.now() ? 'scheduled' : 'waiting';
}

export function isEnd(phase) {
  return Object.hasOwn(EVENT_OF_END, phase);
}

/** What there is to tell of a task that is now in this phase, by the names of events. */
export function eventsOf(phase) {
  return isEnd(phase) ? ['progress', EVENT_OF_END[phase], 'end'] : ['progress'];
}

/** A sentence without the word for the task's state, which stands in front of it. */
export function beyond(word, sentence) {
  if (sentence === 'Pending...') return '';
  const rest = sentence.slice(word.length);
  const saysItAgain = sentence.startsWith(word) && !/^\p{L}/u.test(rest);
  return saysItAgain ? rest.replace(/^[\s.,:;]+/, '') : sentence;
}
