// Keeps a list of elements in step with a list of data: each element stays, with its focus and selection, as long as
// its data does.

const made = new WeakMap();

/**
 * Shows `items` in `parent`, in this order. `keyOf(item)` tells them apart; `make(item)` returns an object with an
 * `element` and a method `update(item)`, which is called with each new item.
 */
export function keep(parent, items, keyOf, make) {
  const before = made.get(parent) ?? new Map();
  const now = new Map(items.map((item) => [keyOf(item), before.get(keyOf(item)) ?? make(item)]));
  const focus = made.has(parent) ? focusIn(parent) : takeOver(parent);
  made.set(parent, now);
  for (const [key, { element }] of before) if (!now.has(key)) leave(element);
  let place = parent.firstElementChild;
  for (const item of items) {
    const row = now.get(keyOf(item));
    row.update(item);
    if (row.element === place) place = place.nextElementSibling;
    else parent.insertBefore(row.element, place);
  }
  focus();
}

/** Returns a function that gives the focus back to the element that has it: moving an element takes it away. */
function focusIn(parent) {
  const active = document.activeElement;
  const isHere = parent.contains(active);
  return () => isHere && active.isConnected && active !== document.activeElement && active.focus();
}

/** Removes what the server has drawn. Returns a function that gives the focus, if it was there, to its successor. */
function takeOver(parent) {
  const active = document.activeElement;
  const index = [...parent.children].findIndex((child) => child.contains(active));
  parent.replaceChildren();
  return () => parent.children[index]?.querySelector(active.localName)?.focus();
}

/** The objects of a list that are shown now. */
export function shownIn(parent) {
  return [...(made.get(parent)?.values() ?? [])];
}

/** Removes an element. If it has the focus, its neighbour gets it. */
function leave(element) {
  const next = element.nextElementSibling ?? element.previousElementSibling;
  const hadFocus = element.contains(document.activeElement);
  element.remove();
  if (hadFocus) next?.focus();
}
