// Creates elements and sets their text. Callers decide what they say.

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

/** Sets a text only if it differs, so that a refresh keeps the selection and is not announced by screen readers. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}
