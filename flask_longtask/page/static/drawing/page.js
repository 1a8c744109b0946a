// What a page with forms does by itself: start their tasks, put the bars into lists and bring them back after a reload.
// bar.js draws a bar and follows its task.

import { Follower } from '../client/follower.js';
import { addressOf, HERE, post, Problem } from '../client/server.js';
import { isEnd } from '../client/status.js';
import { hidden, live, started } from '../client/storage.js';
import { nameOf, text } from '../strings.js';
import { announce, prepareAnnouncements } from './announcer.js';
import { showBanners } from './banners.js';
import { clearErrors, clearPassedErrors, readForm, showError } from './forms.js';
import { listed, listOf, moveFocusFrom, offerClear, offerLive } from './lists.js';

/** Takes over the page. `remember`: this tab keeps the list of the tasks it has started, since the server does not. */
export function takeOver({ remember }) {
  prepareAnnouncements();
  document.addEventListener('submit', onSubmit);
  document.addEventListener('click', ({ target }) => target.closest('[data-longtask-clear]') && clear());
  document.addEventListener('change', ({ target }) => {
    if (target.matches('[data-longtask-live]')) setLive(target.checked);
  });
  document.addEventListener('longtask:progress', () => offerClear(ended().length > 0));
  document.addEventListener('longtask:hide', ({ target }) => onHide(target));
  // nanobar may be loaded later than this script; `load` waits for both.
  window.addEventListener('load', () => document.querySelectorAll('long-task').forEach((bar) => bar.redraw()));
  document.addEventListener('longtask:online', clearPassedErrors);
  offerLive(live.read() === true);
  if (document.querySelector('form[data-longtask], [data-longtask-list]')) restore(remember);
}

function onSubmit(event) {
  if (!event.target.matches('form[data-longtask]')) return;
  event.preventDefault();
  submit(event.target, event.submitter);
}

/** Starts a form's task, as often as its `data-longtask-count` field says. */
async function submit(form, submitter) {
  if (form.getAttribute('aria-busy') === 'true') return;
  form.setAttribute('aria-busy', 'true');
  clearErrors(form);
  const { url, body, count } = readForm(form, submitter);
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
  } finally {
    form.removeAttribute('aria-busy');
  }
  if (number) announce(text(number > 1 ? 'tasks_started' : 'task_started', { name, count: number }));
}

function startFailed(problem, form, number, count) {
  const before = number ? [text('some_started', { started: number, count })] : [];
  const unsure = problem.status === 0 ? [text('unsure')] : [];
  showError(form, [...before, problem.message, ...unsure].join(' '), problem.field, problem.status === 503);
  if (problem.status === 0) restore(false);
}

/** Puts a bar on top of its list, unless it has one already. Returns the bar. */
function add(base, id, task, { form = null, listId, isNews }) {
  const list = listOf(form, listId);
  const existing = listed().find((bar) => bar.dataset.taskId === id);
  if (existing) return existing;
  const bar = document.createElement('long-task');
  bar.setAttribute('href', addressOf(base, id));
  bar.toggleAttribute('hideable', true);
  bar.form = form;
  if (task) bar.know(task, isNews);
  if (form) {
    started.add(id, list.id);
    form.dispatchEvent(new CustomEvent('longtask:start', { bubbles: true, detail: bar.task }));
  }
  list.prepend(bar);
  return bar;
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
    // The newest task comes first, and each bar goes on top: so add the oldest first.
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
  offerClear(ended().some((other) => other !== bar));
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
