// Where bars and banners go on the page, and the page's own controls for them. How one bar looks is in bar.js.

import { element } from './elements.js';

export class List {
  #banners;
  #element = null;

  /** `banners` is the element that goes on top of the first bars. */
  constructor(banners) {
    this.#banners = banners;
  }

  /** On top of the others. `form` is what started it, if any did. */
  add(bar, form = null) {
    this.#place(form).prepend(bar.element);
  }

  /** In place of what the server has drawn, outside of the list. */
  replace(node, bar) {
    node.replaceWith(bar.element);
    if (!this.#banners.isConnected) bar.element.before(this.#banners);
  }

  remove(bar) {
    const next = bar.element.nextElementSibling ?? bar.element.previousElementSibling ?? bar.element.parentElement;
    const hadFocus = bar.element.contains(document.activeElement);
    bar.element.remove();
    if (hadFocus) next.focus();
  }

  focus() {
    this.#element.focus();
  }

  /** It has what the server lists. */
  complete() {
    this.#place().removeAttribute('aria-busy');
  }

  showBanners() {
    if (!this.#banners.isConnected) this.#place();
  }

  /** A "hide finished" button of the page is there only while there is something to hide. */
  offerClear(yes) {
    for (const node of document.querySelectorAll('[data-longtask-clear]')) node.hidden = !yes;
  }

  /** The page's switch is hidden where no script runs. */
  offerLive(yes) {
    for (const node of document.querySelectorAll('[data-longtask-live]')) {
      node.checked = yes;
      (node.closest('label') ?? node).hidden = false;
    }
  }

  #place(form = null) {
    this.#element ??= document.querySelector('[data-longtask-list]') ?? this.#make(form);
    this.#element.tabIndex = -1;
    if (!this.#banners.isConnected) this.#element.before(this.#banners);
    return this.#element;
  }

  #make(form) {
    const list = element('div', 'longtask-list');
    const before = form ?? document.querySelector('form[data-longtask]');
    if (before) before.after(list);
    else document.body.append(list);
    return list;
  }
}
