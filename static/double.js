// The table of doubled integers, with a row for each task.
import { localTime } from '../longtask/static/longtask.js';

const LONG_RESULT = 60; // longer results are folded

const region = document.querySelector('[data-double]');
const body = region.querySelector('tbody');
const rows = new Map();

function element(tag, ...children) {
  const node = document.createElement(tag);
  node.append(...children);
  return node;
}

function digits(result) {
  const text = String(result);
  if (text.length <= LONG_RESULT) return text;
  const summary = element('summary', `${text.slice(0, LONG_RESULT)}… all ${text.length.toLocaleString()} characters`);
  return element('details', summary, text);
}

function outcome({ state, result, finished }) {
  if (state === 'SUCCESS') return digits(result);
  return finished ? state.toLowerCase() : '';
}

function add(task, address) {
  const row = element('tr', ...Array.from({ length: 5 }, () => element('td')));
  const link = element('a', element('code', task.task_id.slice(0, 8)));
  link.href = address;
  link.title = task.task_id;
  row.firstChild.append(link);
  rows.set(task.task_id, row);
  body.prepend(row);
  region.hidden = false;
  return row;
}

document.addEventListener('longtask:progress', ({ target, detail: task }) => {
  if (task.task !== 'double') return;
  const row = rows.get(task.task_id) ?? add(task, target.getAttribute('href'));
  const times = [task.submitted, task.started, task.finished];
  times.forEach((time, index) => row.cells[index + 1].replaceChildren(time ? localTime(time) : ''));
  const shown = outcome(task);
  if (shown && !row.cells[4].hasChildNodes()) row.cells[4].append(shown);
});
