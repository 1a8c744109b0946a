// What a page with forms does by itself: start their tasks, put the bars into lists and bring them back after a reload.
// bar.js draws a bar and follows its task.

import { Follower } from '../client/follower.js';
import { addressed, addressOf, HERE, post, Problem } from '../client/server.js';
import { isEnd } from '../client/status.js';
import { hidden, live, started } from '../client/storage.js';
import { nameOf, text } from '../strings.js';
import { announce, prepareAnnouncements } from './announcer.js';
import { showBanners } from './banners.js';
import { insert } from '../overview/order.js';
import { updateSoon, watchLists } from '../overview/overview.js';
import { clearErrors, clearPassedErrors, readForm, showError } from './forms.js';
import { listed, listOf, moveFocusFrom, offerLive } from './lists.js';
import { nameOfTask } from './words.js';

/** Takes over the page. `remember`: this tab keeps the list of the tasks it has started, since the server does not. */
export function takeOver({ remember }) {
  prepareAnnouncements();
  document.addEventListener('submit', onSubmit);
  document.addEventListener('click', ({ target }) => target.closest('[data-longtask-clear]') && clear());
  document.addEventListener('change', ({ target }) => {
    if (target.matches('[data-longtask-live]')) setLive(target.checked);
  });
  document.addEventListener('longtask:hide', ({ target }) => onHide(target));
  document.addEventListener('longtask:restart', ({ target, detail }) => onRestart(target, detail));
  // nanobar may be loaded later than this script; `load` waits for both.
  window.addEventListener('load', () => document.querySelectorAll('long-task').forEach((bar) => bar.redraw()));
  document.addEventListener('longtask:online', clearPassedErrors);
  offerLive(live.read() === true);
  watchLists();
  if (document.querySelector('form[data-longtask], [data-longtask-list]')) restore(remember);
}

function onSubmit(event) {
  if (!event.target.matches('form[data-longtask]')) return;
  event.preventDefault();
  submit(event.target, readForm(event.target, event.submitter));
}

/** What each form is still to send: the requests of clicks that came while another was under way. */
const queues = new WeakMap();

/** Sends a form's request after those of earlier clicks. If one fails, the later ones are dropped: it says why. */
async function submit(form, request) {
  if (queues.has(form)) return queues.get(form).push(request);
  const queue = [request];
  queues.set(form, queue);
  form.setAttribute('aria-busy', 'true');
  try {
    while (queue.length && await startTasks(form, queue.shift()));
  } finally {
    queues.delete(form);
    form.removeAttribute('aria-busy');
  }
}

/** Starts a form's task, as often as its `data-longtask-count` field said. Returns whether all were started. */
async function startTasks(form, { url, body, count }) {
  clearErrors(form);
  let number = 0;
  let name = '';
  try {
    for (; number < count; number += 1) {
      const { base, tasks } = await post(url, body);
      for (const [id, task] of tasks) {
        const bar = add(base, id, task, { form, isNews: true });
        name ||= bar.task?.task ? nameOf(bar.task.task) : text('task');
      }
    }
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    startFailed(problem, form, number, count);
  }
  if (number) announce(text(number > 1 ? 'tasks_started' : 'task_started', { name, count: number }));
  return number === count;
}

function startFailed(problem, form, number, count) {
  const before = number ? [text('some_started', { started: number, count })] : [];
  const unsure = problem.status === 0 ? [text('unsure')] : [];
  showError(form, [...before, problem.message, ...unsure].join(' '), problem.field, problem.status === 503);
  if (problem.status === 0) restore(false);
}

/** Puts a bar into its list, unless the task has one already. Returns the bar. */
function add(base, id, task, { form = null, listId, isNews }) {
  const list = listOf(form, listId);
  const existing = listed().find((bar) => bar.dataset.taskId === id);
  if (existing) return existing;
  const bar = make(base, id, task, form, isNews);
  bar.toggleAttribute('hideable', true);
  if (form) {
    started.add(id, list.id);
    form.dispatchEvent(new CustomEvent('longtask:start', { bubbles: true, detail: bar.task }));
  }
  insert(list, bar);
  if (task?.restart_of) listed().find((other) => other.dataset.taskId === task.restart_of)?.startedAgainAs(id);
  updateSoon();
  return bar;
}

function make(base, id, task, form, isNews) {
  const bar = document.createElement('long-task');
  bar.setAttribute('href', addressOf(base, id));
  bar.form = form;
  if (task) bar.know(task, isNews);
  return bar;
}

/** Shows the task that repeats the one of this bar, in the same list, else above the bar, and brings it into view. */
function onRestart(bar, task) {
  const { base } = addressed(bar.getAttribute('href'));
  const list = bar.closest('.longtask-list');
  let repeated;
  if (list) {
    repeated = add(base, task.task_id, task, { form: bar.form, listId: list.id || undefined, isNews: true });
    if (!bar.form) started.add(task.task_id, list.id);
  } else {
    repeated = make(base, task.task_id, task, bar.form, true);
    bar.before(repeated);
  }
  bar.startedAgainAs(task.task_id);
  repeated.focus({ preventScroll: true });
  repeated.scrollIntoView({ block: 'nearest' });
  announce(text('task_started', { name: nameOfTask(task) }));
}

/** Brings back the tasks that this browser has started, now or as soon as the server answers. */
function restore(remember) {
  const follower = Follower.at(HERE);
  showBanners(follower, listOf(null));
  return follower.once(async (server) => {
    const tasks = new Map((await server.tasks()).map((task) => [task.task_id, task]));
    const lists = started.read();
    const missing = remember ? [...lists.keys()].reverse().filter((id) => !tasks.has(id)) : [];
    for await (const [id, task] of server.statuses(missing)) if (task) tasks.set(id, task);
    const hiddenIds = hidden.read();
    hidden.write([...hiddenIds].filter((id) => tasks.has(id)));
    // The oldest first, as they were started: scripts of the page may list them, too.
    for (const [id, task] of [...tasks].reverse()) {
      if (!hiddenIds.has(id)) add(HERE, id, task, { listId: lists.get(id), isNews: false });
    }
    listOf(null).removeAttribute('aria-busy');
  });
}

function ended() {
  return listed().filter((bar) => isEnd(bar.phase));
}

function onHide(bar) {
  moveFocusFrom(bar);
  hidden.write(hidden.read().add(bar.dataset.taskId));
}

/** Takes all finished bars off the page. */
function clear() {
  for (const bar of ended()) bar.hide();
  listOf(null).focus(); // the button that was pressed is hidden now
}

function setLive(yes) {
  live.write(yes);
  offerLive(yes);
  for (const follower of Follower.all) follower.liveChanged();
}
