// Where the bars of forms go on the page, and the page's own controls for them. How one bar looks is in bar.js.

import { element } from './elements.js';

const made = new WeakMap();

/**
 * The list for the bars of a form: the one that its `data-longtask-list` names by id, else that of the page, marked with
 * `data-longtask-list`, else one after the form. Without a form, that of the page or of its first form.
 */
export function listOf(form, id = form?.dataset.longtaskList) {
  const first = document.querySelector('form[data-longtask]');
  const list = (id ? document.getElementById(id) : null)
    ?? document.querySelector('[data-longtask-list]:not(form)')
    ?? (form ? madeAfter(form) : listOf(first));
  list.classList.add('longtask-list');
  list.tabIndex = -1;
  return list;
}

function madeAfter(form) {
  if (!made.get(form)?.isConnected) {
    made.set(form, element('div', 'longtask-list'));
    form.after(made.get(form));
  }
  return made.get(form);
}

/** The bars of all lists. */
export function listed() {
  return [...document.querySelectorAll('.longtask-list long-task')];
}

/** Where the keyboard goes on when a bar leaves. */
export function moveFocusFrom(bar) {
  const next = bar.nextElementSibling ?? bar.previousElementSibling ?? bar.parentElement;
  if (bar.contains(document.activeElement)) next.focus();
}

/** A "hide finished" button of the page is there only while there is something to hide. */
export function offerClear(yes) {
  for (const node of document.querySelectorAll('[data-longtask-clear]')) node.hidden = !yes;
}

/** The page's switch is hidden where no script runs. */
export function offerLive(yes) {
  for (const node of document.querySelectorAll('[data-longtask-live]')) {
    node.checked = yes;
    (node.closest('label') ?? node).hidden = false;
  }
}
