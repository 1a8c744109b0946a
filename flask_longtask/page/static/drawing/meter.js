// The moving part of a bar: nanobar where it is loaded, the browser's own <progress> where it is not or where motion
// is unwanted. The words around it are in bar.js.

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
    // nanobar glides. Downwards (a second attempt) that would show more than is so: begin anew instead.
    if (percent < this.#percent) this.#nanobar = null;
    this.#percent = percent;
    this.draw();
  }

  /** Also called when nanobar arrives after the first bars. */
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
