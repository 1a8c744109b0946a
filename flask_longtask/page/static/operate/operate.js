// The operators' page: refreshes itself by one request, and sends what an operator does with a task. Without this
// script, the server draws the same page, and the browser loads it again.

import { Polling } from '../client/polling.js';
import { addressOf, HERE, json, parsed, Problem } from '../client/server.js';
import { Banners } from '../drawing/banners.js';
import { prepareAnnouncements } from '../drawing/announcer.js';
import { element, setText } from '../drawing/elements.js';
import { setStrings, text } from '../strings.js';
import { keep, shownIn } from './keyed.js';
import { Row } from './row.js';
import { drawSides, inDigits } from './sides.js';

const REFRESH_SECONDS = 2;
const PAGE = 50;
const TYPING_MS = 300;
const OPERATE = `${HERE}operate/`;

const byId = (name) => document.getElementById(`operate-${name}`);
const read = (name) => parsed(byId(name).textContent);

setStrings(read('text'));

const filters = byId('filters');
const polling = new Polling({ ask, goOn });
const banners = new Banners({ observe: () => {}, tryNow: () => polling.tryNow() });
let lastSeen = new Date().toISOString();
let asked = location.search;
let typing = null;

async function ask() {
  if (document.hidden) return;
  asked = location.search;
  if (polling.isAway) banners.trying();
  try {
    const shown = await json(`${OPERATE}tasks${asked}`);
    if (polling.isAway) banners.back();
    polling.succeeded();
    lastSeen = new Date().toISOString();
    if (asked === location.search) draw(shown);
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    if ([401, 404].includes(problem.status)) location.reload(); // the session has ended: enter the token again
    polling.failed(problem);
    banners.away(problem.message, lastSeen, polling.pause(REFRESH_SECONDS));
  }
  document.body.classList.toggle('operate-stale', polling.isAway);
}

function goOn() {
  if (document.hidden) return;
  if (asked !== location.search) polling.now();
  else if (!polling.rests) polling.after(polling.pause(REFRESH_SECONDS));
}

function draw(shown) {
  const { tasks, next, counts } = shown;
  drawSides(shown);
  keep(byId('tasks'), tasks, (task) => task.task_id, (task) => new Row(task, act));
  const names = ['open', 'running', 'waiting', 'scheduled', 'ended'];
  const numbers = names.filter((name) => name !== 'scheduled' || counts[name]).map((name) =>
    element('span', '', text(`operate_${name}_tasks`, { count: inDigits(counts[name]) })));
  byId('counts').replaceChildren(...numbers.flatMap((node) => [node, ' ']));
  document.title = `${text('operate')}: ${numbers[0].textContent}`;
  const isFiltered = [...new URLSearchParams(location.search)].some(([name, value]) => name !== 'cursor' && value);
  byId('all').hidden = !isFiltered;
  byId('none').hidden = tasks.length > 0;
  setText(byId('none'), text(next ? 'operate_none_so_far' : isFiltered ? 'operate_none_match' : 'operate_no_tasks'));
  byId('next').hidden = !next;
  byId('next').href = next ? addressWith({ cursor: next }) : '';
  setText(byId('next'), text(tasks.length === PAGE ? 'operate_next_page' : 'operate_look_further'));
  byId('first').hidden = !new URLSearchParams(location.search).has('cursor');
  byId('first').href = addressWith({ cursor: '' });
  const queues = shown.queues.map(({ name }) => element('option', '', name));
  if (byId('queue-names').children.length !== queues.length) byId('queue-names').replaceChildren(...queues);
}

/** Asks the server to do something with a task. Returns the answer; null if the task had ended. Throws a Problem. */
async function act(id, method, path) {
  try {
    return await json(addressOf(OPERATE, id) + path, { method });
  } catch (problem) {
    if (problem.status !== 409) throw problem;
    return null; // the refresh shows how it has ended
  } finally {
    polling.now();
  }
}

/** Returns the address of this page with other values in its query string; an empty value is left out. */
function addressWith(values) {
  const query = new URLSearchParams(location.search);
  for (const [name, value] of Object.entries(values)) {
    if (value) query.set(name, value);
    else query.delete(name);
  }
  return location.pathname + (query.size ? `?${query}` : '');
}

/** What the form says. */
function chosen() {
  return Object.fromEntries([...new FormData(filters)].map(([name, value]) => [name, value.trim()]));
}

function filter() {
  clearTimeout(typing);
  history.replaceState(null, '', addressWith({ ...chosen(), cursor: '' }));
  polling.tryNow();
}

function begin() {
  prepareAnnouncements();
  byId('filters').before(banners.element);
  filters.addEventListener('submit', (event) => {
    event.preventDefault();
    filter();
  });
  filters.addEventListener('change', filter);
  filters.addEventListener('input', () => {
    clearTimeout(typing);
    typing = setTimeout(filter, TYPING_MS);
  });
  document.addEventListener('visibilitychange', () => document.hidden || polling.now());
  draw(read('data'));
  // nanobar may be loaded later than this script; `load` waits for both.
  window.addEventListener('load', () => {
    for (const name of ['tasks', 'workers']) shownIn(byId(name)).forEach((each) => each.redraw());
  });
  const asked = new URLSearchParams(location.search);
  if (Object.entries(chosen()).some(([name, value]) => value !== (asked.get(name) ?? ''))) filter(); // before this script
  else goOn();
}

begin();
