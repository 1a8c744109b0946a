// The moving part of a bar: nanobar, or the browser's own <progress> if nanobar is not loaded or the user prefers
// reduced motion. The words around it are in bar.js.

import { element } from './elements.js';

export class Meter {
  element = element('div', 'longtask-meter');
  #percent = 0;
  #nanobar = null;

  constructor() {
    this.element.role = 'progressbar';
    this.element.ariaValueMin = '0';
    this.element.ariaValueMax = '100';
    this.draw();
  }

  show(percent, label, words) {
    this.element.ariaLabel = label;
    this.element.ariaValueNow = String(percent);
    this.element.ariaValueText = words;
    if (percent === this.#percent) return;
    // nanobar animates changes. Downwards (a second attempt) it would show too much for a moment: make a new one.
    if (percent < this.#percent) this.#nanobar = null;
    this.#percent = percent;
    this.draw();
  }

  /** Draws the percentage. Also called when nanobar is loaded after the first bars. */
  draw() {
    const animated = globalThis.Nanobar && !matchMedia('(prefers-reduced-motion: reduce)').matches;
    if (!animated) return this.#drawProgress();
    if (!this.#nanobar) {
      this.element.replaceChildren();
      this.#nanobar = new globalThis.Nanobar({ target: this.element });
    }
    this.#nanobar.go(this.#percent);
  }

  #drawProgress() {
    const progress = element('progress', '');
    progress.max = 100;
    progress.value = this.#percent;
    progress.ariaHidden = 'true'; // the element around it has the role and the values
    this.element.replaceChildren(progress);
  }
}
