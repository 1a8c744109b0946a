// The title and the icon of the document, which say how far the tasks are while another tab is in front.

import { text } from '../strings.js';

const STEP = 5; // per cent: a browser decodes each new icon

const icon = document.createElement('link');
icon.rel = 'icon';
icon.type = 'image/svg+xml';

let ownTitle = '';
let shownTitle = null; // null while the page has its own
let ownIcons = [];
let mayHaveIcon = true;

// A policy without `img-src data:` forbids it.
document.addEventListener('securitypolicyviolation', ({ effectiveDirective, blockedURI }) => {
  if (effectiveDirective !== 'img-src' || blockedURI !== 'data' || !icon.isConnected) return;
  mayHaveIcon = false;
  restoreIcons();
});

/** Shows what runs, in words, and the share that is done, from 0 to 1. */
export function showInTab(words, share) {
  if (document.title !== shownTitle) ownTitle = document.title; // the page has changed it meanwhile
  shownTitle = text('title', { sum: words, title: ownTitle });
  if (document.title !== shownTitle) document.title = shownTitle;
  if (mayHaveIcon) drawIcon(Math.floor((share * 100) / STEP) * STEP);
}

/** Gives the page its own title and icon back. */
export function restoreTab() {
  if (shownTitle !== null && document.title === shownTitle) document.title = ownTitle;
  shownTitle = null;
  restoreIcons();
}

function drawIcon(percent) {
  const href = `data:image/svg+xml,${encodeURIComponent(svg(percent))}`;
  if (icon.href === href && icon.isConnected) return;
  icon.href = href;
  if (icon.isConnected) return;
  ownIcons = [...document.querySelectorAll('link[rel~="icon"]')];
  for (const own of ownIcons) own.remove();
  document.head.append(icon);
}

function restoreIcons() {
  if (icon.isConnected) icon.replaceWith(...ownIcons);
}

function svg(percent) {
  const bar = (width, opacity) => `<rect x="4" y="11" width="${width}" height="10" rx="3" fill="#fff" opacity="${opacity}"/>`;
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32">
    <rect width="32" height="32" rx="7" fill="#0b6b62"/>${bar(24, 0.35)}${bar(24 * percent / 100, 1)}</svg>`;
}
