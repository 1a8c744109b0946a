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
  cancelled: 'Cancelled',
  expired: 'Expired',
  unknown: 'Unknown',
  expired_message: 'The server no longer shows this task: it has expired or was deleted, or you may no longer see it. Its last known state is shown.',
  unknown_message: 'There is no such task on the server, or you may not see it.',

  // The rest of a bar
  task: 'Task',
  task_page: 'The page of this task, {id}',
  percent: '{percent}%',
  left: '{time} left',
  cancel: 'Cancel',
  cancelling: 'Cancelling…',
  not_cancelled: 'Not cancelled.',
  hide: 'Hide',
  result: 'Result',
  megabytes: '{size} MB',
  characters: 'all {count} characters',
  attempt: 'Attempt {number}',
  submitted: 'Submitted {time}',
  started: 'Started {time}',
  finished: 'Finished {time}',
  took: 'Took {time}',

  // Durations
  seconds: '{seconds} s',
  minutes: '{minutes} min {seconds} s',
  hours: '{hours} h {minutes} min',

  // Above the bars
  away: 'The server does not answer.',
  offline: 'This computer is offline.',
  last_seen: 'The bars show what was known at {time}.',
  trying: 'Trying again…',
  trying_in: 'Trying again in {time}.',
  try_now: 'Try now',
  back: 'The server is back.',
  no_worker: 'No worker is running.',
  start_worker: 'Start a Celery worker to run the waiting tasks.',
  start_worker_by: 'Start one to run the waiting tasks: {command}',

  // Errors of a request
  error: 'The server answers with error {status}.',
  not_ours: 'The answer did not come from this server.',
  no_task: 'The server did not return a task.',
  some_started: 'Only {started} of {count} tasks were started.',
  unsure: 'The task may have been started. If so, it is listed once the server is back.',

  // For screen readers
  task_started: '{name} started.',
  tasks_started: '{name} started {count} times.',

  /** Names of tasks, and of states that tasks report themselves, by the server's word: `{"long_task": "Lange Aufgabe"}`. */
  tasks: {},
  states: {},
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
