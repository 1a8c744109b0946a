// The order of the bars in a list: what runs, then what waits, then what has ended. A bar moves only when it begins to
// run or ends, and never under somebody's hands: not while it has the focus, and not while the pointer moves over the
// list or a text in it is selected.

import { isEnd, phaseOf } from '../client/status.js';

const RANK_OF_PHASE = { running: 0, waiting: 1, retry: 1, scheduled: 2 };
const ENDED = 3;
const UNKNOWN = '~'; // later than every time: a start route may have answered only the id
const HANDS_OFF_MS = 1_500; // after the last movement of the pointer

/** The key by which each bar has its present place. */
const places = new WeakMap();
let pointerMoved = -Infinity;

/** Calls `settle` when a list that was in use may be so no longer. */
export function watchHands(settle) {
  const touched = () => { pointerMoved = performance.now(); };
  for (const name of ['pointermove', 'pointerdown']) document.addEventListener(name, touched, { passive: true });
  document.addEventListener('focusout', settle);
}

/** Puts a new bar into its place in the list. */
export function insert(list, bar) {
  places.set(bar, keyOf(bar));
  const next = barsOf(list).find((other) => compare(bar, other) < 0);
  if (next) next.before(bar);
  else list.append(bar);
}

/** Moves the bars whose place has changed. Returns whether some have to stay where they are for the moment. */
export function arrange(list) {
  const bars = barsOf(list);
  const misplaced = bars.filter((bar) => String(places.get(bar)) !== String(keyOf(bar)));
  if (misplaced.length === 0) return false;
  if (isInUse(list)) return true;
  const movers = new Set(misplaced.filter((bar) => !bar.contains(document.activeElement)));
  for (const bar of movers) places.set(bar, keyOf(bar));
  // The others are in order already: the movers are merged into them, so that nothing else is touched.
  let next = 0;
  const stays = bars.filter((bar) => !movers.has(bar));
  for (const bar of [...movers].sort(compare)) {
    while (next < stays.length && compare(bar, stays[next]) >= 0) next += 1;
    const target = stays[next] ?? null;
    if (bar.nextElementSibling !== target) list.insertBefore(bar, target);
  }
  return false;
}

function barsOf(list) {
  return [...list.children].filter((node) => node.localName === 'long-task');
}

/** What runs and what waits begins with the oldest, so that the next one to run is already in its place. */
function keyOf({ task, phase: drawn }) {
  const phase = drawn || (task ? phaseOf(task) : 'waiting');
  const rank = isEnd(phase) ? ENDED : RANK_OF_PHASE[phase] ?? 0;
  return [rank, (rank === ENDED ? task?.finished : null) ?? task?.submitted ?? UNKNOWN];
}

function compare(one, other) {
  const [[rank, time], [otherRank, otherTime]] = [places.get(one) ?? keyOf(one), places.get(other) ?? keyOf(other)];
  if (rank !== otherRank) return rank - otherRank;
  const later = time > otherTime ? 1 : time < otherTime ? -1 : 0; // ISO times of one time zone compare as texts
  return rank === ENDED ? -later : later;
}

/** Whether somebody has a hand on the list: a text in it is selected, or the pointer moves over it. */
export function isInUse(list) {
  const selection = getSelection();
  const isRead = selection.type === 'Range' && list.contains(selection.anchorNode);
  return isRead || (list.matches(':hover') && performance.now() - pointerMoved < HANDS_OFF_MS);
}
