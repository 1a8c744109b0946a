// Keeps what sums up the lists of a page: the line above each list, the order of its bars, the title and the icon of
// the document, and the controls that appear while there is a use for them.

import { Polling } from '../client/polling.js';
import { isEnd } from '../client/status.js';
import { element, setText } from '../drawing/elements.js';
import { barsIn, lists, offerClear } from '../drawing/lists.js';
import { sumInWords, sumOf } from '../drawing/sum.js';
import { duration } from '../drawing/times.js';
import { text } from '../strings.js';
import { offerNotifications, watchEnds } from './notifications.js';
import { arrange, watchHands } from './order.js';
import { restoreTab, showInTab } from './title.js';

const AGAIN_MS = 500; // a list that could not be arranged is tried again

const lines = new WeakMap();
/** The bars of the tasks that were open together: their share is what the icon shows. */
const batch = new Set();
let isPlanned = false;
let isAway = false;

export function watchLists() {
  for (const name of ['progress', 'hide']) document.addEventListener(`longtask:${name}`, updateSoon);
  document.addEventListener('longtask:offline', () => setAway(true));
  document.addEventListener('longtask:online', () => setAway(false));
  document.addEventListener('visibilitychange', update); // no frame is drawn in a hidden tab
  watchHands(updateSoon);
  watchEnds();
}

/** Once for all changes until the next frame. */
export function updateSoon() {
  if (isPlanned) return;
  isPlanned = true;
  if (document.hidden) setTimeout(update);
  else requestAnimationFrame(update);
}

function setAway(yes) {
  isAway = yes;
  updateSoon();
}

function update() {
  isPlanned = false;
  const all = [];
  let isWaitingForHands = false;
  for (const list of lists()) {
    const bars = barsIn(list);
    all.push(...bars);
    drawLine(list, bars);
    isWaitingForHands = arrange(list) || isWaitingForHands;
  }
  if (isWaitingForHands) setTimeout(updateSoon, AGAIN_MS);
  const sum = sumOf(all.map(({ phase }) => phase));
  const isBusy = Boolean(sum.running || sum.waiting);
  if (isBusy && !isAway) showInTab(sumInWords(sum, ['running', 'waiting']), shareDone(all));
  else restoreTab();
  Polling.inBackground = isBusy; // what the tab says has to stay true
  offerClear(all.some(({ phase }) => isEnd(phase)));
  offerNotifications(isBusy);
}

/** The line above a list: how many tasks do what, and how long it takes. A single bar says this itself. */
function drawLine(list, bars) {
  const line = lines.get(list) ?? element('p', 'longtask-sum');
  lines.set(list, line);
  if (bars.length < 2) return line.remove();
  const left = secondsLeft(bars);
  const words = sumInWords(sumOf(bars.map(({ phase }) => phase)));
  setText(line, left === null ? words : `${words} · ${text('left', { time: duration(left) })}`);
  if (!line.isConnected) list.before(line);
  return line;
}

/** Returns the seconds until all have ended: null while a task waits, since nobody knows when it begins. */
function secondsLeft(bars) {
  const open = bars.filter(({ phase }) => !isEnd(phase));
  const etas = open.map(({ phase, task }) => (phase === 'running' ? task.eta : null));
  return open.length && etas.every((eta) => typeof eta === 'number') ? Math.max(...etas) : null;
}

function shareDone(bars) {
  for (const bar of batch) if (!bar.isConnected) batch.delete(bar);
  const open = bars.filter(({ phase }) => !isEnd(phase));
  if (![...batch].some((bar) => open.includes(bar))) batch.clear();
  for (const bar of open) batch.add(bar);
  const shares = [...batch].map(({ phase, task }) => (isEnd(phase) ? 1 : (task?.percent ?? 0) / 100));
  return shares.reduce((sum, share) => sum + share, 0) / shares.length;
}
