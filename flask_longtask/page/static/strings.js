// All texts that the page shows by itself, and how an app replaces them. Other modules decide where they appear.
//
// A page replaces texts by JSON, before this script or after it:
//
//   <script type="application/json" id="longtask-strings">{"cancel": "Abbrechen"}</script>
//
// or by `setStrings()`, from a script that is loaded with the page. A name in braces is replaced by a value.

const strings = {
  /** The language of dates and numbers, such as `de`; empty for the browser's own. */
  locale: '',

  // The state of a task
  waiting: 'Waiting',
  scheduled: 'Scheduled',
  running: 'Running',
  retry: 'Waiting to retry',
  done: 'Done',
  failed: 'Failed',
  not_started: 'Not started',
  cancelled: 'Cancelled',
  expired: 'Expired',
  unknown: 'Not found',
  expired_message: 'The server no longer has this task, or no longer lets you see it. Its last known state is shown.',
  unknown_message: 'The server has no such task, or does not let you see it.',

  // The rest of a bar
  task: 'Task',
  task_page: 'The page of this task, {id}',
  percent: '{percent}%',
  left: '{time} left',
  cancel: 'Cancel',
  cancelling: 'Cancelling…',
  restart: 'Start again',
  restarting: 'Starting…',
  started_again: 'Started again as {task}',
  not_restarted: 'It could not be started again.',
  not_cancelled: 'It could not be cancelled.',
  hide: 'Hide',
  result: 'Result',
  megabytes: '{size} MB',
  characters: 'all {count} characters',
  attempt: 'Attempt {number}',
  repeats: 'Repeats {task}',
  submitted: 'Submitted {time}',
  started: 'Started {time}',
  finished: 'Ended {time}',
  took: 'Took {time}',
  parts: '{count} parts',
  one_part: '1 part',
  still_running: '{count} still running',
  still_waiting: '{count} still waiting',
  show_more: 'Show more',

  // The history on a task's own page
  retried: 'Retry requested',
  worker_lost: 'Lost with its worker',
  handed_back: 'Interrupted when its worker was stopped',
  stalled: 'Stopped because it was silent for too long',
  copy: 'Copy',
  copied: 'Copied',

  // Durations
  seconds: '{seconds} s',
  minutes: '{minutes} min {seconds} s',
  hours: '{hours} h {minutes} min',

  // All bars of a list
  sum_running: '{count} running',
  sum_waiting: '{count} waiting',
  sum_scheduled: '{count} scheduled',
  sum_done: '{count} done',
  sum_failed: '{count} failed',
  sum_cancelled: '{count} cancelled',
  title: '{sum} · {title}',
  many_ended: '{count} tasks have ended',
  notify_blocked: 'Your browser does not let this page show notifications.',

  // Above the bars
  away: 'The server does not answer.',
  offline: 'You are offline.',
  last_seen: 'The bars show what was known at {time}.',
  trying: 'Trying again…',
  trying_in: 'Trying again in {time}.',
  try_now: 'Try now',
  back: 'The server is back.',
  no_worker: 'No worker is running.',
  start_worker: 'The waiting tasks start as soon as one is running.',
  start_worker_by: 'The waiting tasks start as soon as one is running: {command}',

  // Errors of a request
  error: 'The server answered with an error ({status}).',
  not_ours: 'The server gave an answer that this page does not understand.',
  no_task: 'The server did not say which task it has started.',
  some_started: 'Only {started} of {count} tasks were started.',
  unsure: 'The task may have been started all the same. Then it appears here once the server is back.',

  // For screen readers
  task_started: '{name} started.',
  tasks_started: '{name} started {count} times.',

  /** Names of tasks, of states that tasks report themselves, and of the levels of log lines, by the server's word:
   *  `{"long_task": "Lange Aufgabe"}`. */
  tasks: {},
  states: {},
  levels: {},
  /** Sentences of the server: `{"Waiting: {count} tasks ahead": "{count} Aufgaben davor"}`. */
  sentences: {},
};

setStrings(JSON.parse(document.getElementById('longtask-strings')?.textContent || '{}'));

/** Replaces texts. Call it before the first bar is drawn: from a script that is loaded with the page. */
export function setStrings(others) {
  Object.assign(strings, others);
}

/** Returns a text in pieces, with its values filled in, which may be elements. */
export function pieces(name, values = {}) {
  return filled(strings[name], (value) => values[value] ?? '');
}

export function text(name, values) {
  return pieces(name, values).join('');
}

export function locale() {
  return strings.locale || undefined;
}

/** Returns the name of a task from `tasks`; without one, `long_task` becomes "Long task". */
export function nameOf(task) {
  return strings.tasks[task] ?? inWords(task);
}

export function nameOfState(state) {
  return strings.states[state] ?? inWords(state);
}

export function levelName(level) {
  return strings.levels[level] ?? level;
}

/** Translates a sentence of the server. Additions in parentheses at its end are translated separately. */
export function translated(sentence) {
  const [, main, additions] = sentence.match(/^(.*?)((?: \([^()]*\))*)$/s);
  return replaced(main) + additions.replace(/\([^()]*\)/g, replaced);
}

function replaced(sentence) {
  for (const [english, other] of Object.entries(strings.sentences)) {
    const names = [...english.matchAll(/\{(\w+)\}/g)].map((match) => match[1]);
    const found = sentence.match(RegExp(`^${filled(english, () => '\0').map(escaped).join('')}$`, 's'));
    if (found) return filled(other, (name) => found[1 + names.indexOf(name)] ?? '').join('');
  }
  return sentence;
}

function escaped(piece) {
  return piece === '\0' ? '(.+?)' : piece.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
}

function filled(template, fill) {
  return template.split(/\{(\w+)\}/).map((piece, index) => (index % 2 ? fill(piece) : piece));
}

function inWords(name) {
  const words = name.replaceAll('_', ' ').trim().toLowerCase();
  return words.charAt(0).toUpperCase() + words.slice(1);
}
