// Notifications of the browser, when tasks end while the page is in a hidden tab. A person allows them by a control of
// the page that has `data-longtask-notify`; without a click nothing asks for them.

import { notify } from '../client/storage.js';
import { sumInWords, sumOf } from '../drawing/sum.js';
import { nameOfTask, sentenceOf, wordOf } from '../drawing/words.js';
import { text } from '../strings.js';

const GATHERED_MS = 1_000; // several tasks that end at once make one notification

/** The bars of the tasks that have ended since the page was hidden. */
const ended = new Set();
let timer = null;

export function watchEnds() {
  document.addEventListener('longtask:end', ({ target: bar }) => {
    if (!document.hidden || !isAllowed()) return;
    ended.add(bar);
    timer ??= setTimeout(tell, GATHERED_MS);
  });
  document.addEventListener('visibilitychange', () => document.hidden || ended.clear());
  document.addEventListener('change', ({ target }) => {
    if (target.matches('[data-longtask-notify]')) choose(target.checked);
  });
}

/** Shows the page's switches for notifications while there is something to wait for, if the browser has them. */
export function offerNotifications(yes) {
  const isPossible = 'Notification' in globalThis;
  const isBlocked = isPossible && Notification.permission === 'denied';
  for (const node of document.querySelectorAll('[data-longtask-notify]')) {
    const label = node.closest('label') ?? node;
    node.checked = isAllowed();
    node.disabled = isBlocked;
    if (isBlocked) label.title = text('notify_blocked');
    label.hidden = !isPossible || !yes;
  }
}

function isAllowed() {
  return notify.read() === true && globalThis.Notification?.permission === 'granted';
}

async function choose(yes) {
  notify.write(yes && await Notification.requestPermission() === 'granted');
  offerNotifications(true);
}

function tell() {
  timer = null;
  if (ended.size === 0) return; // somebody has looked meanwhile
  const [{ task, phase }] = ended;
  const isOne = ended.size === 1;
  const title = isOne ? `${nameOfTask(task)}: ${wordOf(task, phase)}` : text('many_ended', { count: ended.size });
  const body = isOne ? sentenceOf(task, phase) : sumInWords(sumOf([...ended].map((bar) => bar.phase)));
  try {
    // With the same tag, it replaces the one before, which it includes.
    const notification = new Notification(title, { body, tag: 'longtask', renotify: true });
    notification.addEventListener('click', () => {
      window.focus();
      notification.close();
    });
  } catch {
    // Chrome on Android: only a service worker can show one there.
  }
}
