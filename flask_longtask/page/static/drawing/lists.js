// The lists that hold the bars of forms, and the page's controls for them. How a bar looks is in bar.js.

import { element } from './elements.js';

const made = new WeakMap();

/**
 * Returns the list for the bars of a form: the element whose id is in the form's `data-longtask-list`, else the page's
 * element that has `data-longtask-list`, else a new list after the form. Without a form: the page's list, else that of
 * its first form.
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

/** All lists of the page. */
export function lists() {
  return document.querySelectorAll('.longtask-list');
}

export function barsIn(list) {
  return [...list.querySelectorAll('long-task')];
}

/** The bars of all lists. */
export function listed() {
  return [...lists()].flatMap(barsIn);
}

/** Moves the focus from a bar that leaves the page to its neighbour. */
export function moveFocusFrom(bar) {
  const next = bar.nextElementSibling ?? bar.previousElementSibling ?? bar.parentElement;
  if (bar.contains(document.activeElement)) next.focus();
}

/** Shows the page's "hide finished" buttons only while there is something to hide. */
export function offerClear(yes) {
  for (const node of document.querySelectorAll('[data-longtask-clear]')) node.hidden = !yes;
}

/** Sets and shows the page's switches for live updates, which are hidden if no script runs. */
export function offerLive(yes) {
  for (const node of document.querySelectorAll('[data-longtask-live]')) {
    node.checked = yes;
    (node.closest('label') ?? node).hidden = false;
  }
}
