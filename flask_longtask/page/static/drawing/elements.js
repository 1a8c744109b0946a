// Elements of a page: making them and writing into them. What they say is decided by who calls.

export function element(tag, className, ...children) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  node.append(...children);
  return node;
}

export function button(onClick, ...label) {
  const node = element('button', 'longtask-button', ...label);
  node.type = 'button';
  node.addEventListener('click', onClick);
  return node;
}

/** Writes only what differs, so that a refresh neither loses a selection nor stirs a screen reader. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}
