/*
 * The page's client: one bar a task, all bars of a page refreshed by one request every two seconds, and once soon
 * after a start.
 * What it knows comes from the status object (see the README); it draws nothing the server has not said.
 *
 *   <link id="nanobarcss" rel="stylesheet" href="…/longtask.css">
 *   <script src="…/longtask.js" defer></script>
 *   <form data-longtask action="/longtask" method="post"><button>Start</button></form>
 *   <div data-longtask-list></div>                      where the bars go; without it, after the form
 *   <label hidden><input type="checkbox" data-longtask-live> Live</label>
 *
 * Live, every change is told at once, by one stream for all bars. Where it fails the page polls, and tries it again
 * with the next answer.
 *
 * The script starts `window.longtask`. Any `on…` method of it may be replaced:
 *
 *   longtask.onSuccess = (task, bar) => console.log(task.task_id, task.result);
 *
 * or, with `data-manual` on the script tag, the class extended:
 *
 *   new (class extends LongTask { onFailure(task, bar) { … } })({ pollSeconds: 5 }).start();
 *
 * Several scripts of a page can follow the bars by an event, which comes after each of these methods that is given
 * a bar:
 *
 *   document.addEventListener('longtask', ({ detail: { task, bar } }) => { … });
 *
 * Options are `data-` attributes of the script tag or the constructor's: `base` (the path the app is mounted
 * at), `pollSeconds`, `workerCommand`.
 */
(() => {
  'use strict';

  const LONGEST_PAUSE_SECONDS = 30;
  const IDS_PER_REQUEST = 100; // the server takes no more in one request
  const SOON_MS = 300; // after a start: a task of milliseconds is not to seem to wait until the next poll
  const ANSWER_WITHIN_MS = 10_000; // a server that takes longer counts as away
  const HIDDEN_FOR_LONG_MS = 60_000; // a tab out of sight for longer stops asking
  const WAITS_TOO_LONG_MS = 2_000; // a task that waits longer makes us ask whether any worker is there
  const WORKERS_EVERY_MS = 4_000; // asking for them costs the server a round trip to every worker
  const ANNOUNCEMENT_MS = 10_000;
  const LONG_RESULT = 280; // characters shown before the rest is folded away
  const HIDDEN_KEY = 'longtask.hidden';
  const LIVE_KEY = 'longtask.live';

  const PHASE_OF_END = { SUCCESS: 'done', FAILURE: 'failed', REVOKED: 'cancelled', IGNORED: 'ended', REJECTED: 'ended', UNREADABLE: 'ended' };
  const ENDS = new Set(['done', 'failed', 'cancelled', 'ended', 'expired']);
  const WORDS = {
    waiting: 'Waiting',
    scheduled: 'Scheduled',
    running: 'Running',
    retry: 'Waiting to retry',
    done: 'Done',
    failed: 'Failed',
    cancelled: 'Cancelled',
    expired: 'Expired',
  };
  const HANDLERS = {
    waiting: 'onProgress',
    scheduled: 'onProgress',
    running: 'onProgress',
    retry: 'onRetry',
    done: 'onSuccess',
    failed: 'onFailure',
    ended: 'onFailure',
    cancelled: 'onCancelled',
    expired: 'onExpired',
  };
  const EXPIRED =
    'The server no longer knows this task: what it kept about it has expired or was deleted. This is the last that was seen.';

  const ISO_TIME = /\b\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:\d\d)/g;
  const TIME = new Intl.DateTimeFormat(undefined, { timeStyle: 'medium' });
  const DATE_AND_TIME = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'medium' });
  const IN_FULL = new Intl.DateTimeFormat(undefined, { dateStyle: 'full', timeStyle: 'long' });

  // ------------------------------------------------------------------ words, times, elements

  function element(tag, className, ...children) {
    const node = document.createElement(tag);
    if (className) node.className = className;
    node.append(...children);
    return node;
  }

  /** Writes only what differs, so that a refresh neither loses a selection nor stirs a screen reader. */
  function setText(node, text) {
    if (node.textContent !== text) node.textContent = text;
  }

  function button(onClick, ...label) {
    const node = element('button', 'longtask-button', ...label);
    node.type = 'button';
    node.addEventListener('click', onClick);
    return node;
  }

  /** An ISO time as the reader's own clock has it; any other text as it is. */
  function localTime(iso) {
    const date = new Date(iso);
    if (Number.isNaN(date.getTime())) return iso;
    const today = date.toDateString() === new Date().toDateString();
    const node = element('time', '', (today ? TIME : DATE_AND_TIME).format(date));
    node.dateTime = iso;
    node.title = IN_FULL.format(date);
    return node;
  }

  function withLocalTimes(sentence) {
    const parts = [];
    let end = 0;
    for (const match of sentence.matchAll(ISO_TIME)) {
      parts.push(sentence.slice(end, match.index), localTime(match[0]));
      end = match.index + match[0].length;
    }
    parts.push(sentence.slice(end));
    return parts;
  }

  function duration(seconds) {
    const whole = Math.max(1, Math.round(seconds));
    if (whole < 60) return `${whole} s`;
    if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
    return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
  }

  /** `long_task` and `LONG_TASK` to "Long task". */
  function inWords(name) {
    const words = name.replaceAll('_', ' ').trim().toLowerCase();
    return words.charAt(0).toUpperCase() + words.slice(1);
  }

  function isScheduled(task) {
    const [time] = task.status.match(ISO_TIME) ?? [];
    return new Date(time) > Date.now();
  }

  function phaseOf(task) {
    if (Object.hasOwn(PHASE_OF_END, task.state)) return PHASE_OF_END[task.state];
    if (task.finished) return 'ended';
    if (task.state === 'RETRY') return 'retry';
    if (task.state !== 'PENDING') return 'running';
    return isScheduled(task) ? 'scheduled' : 'waiting';
  }

  /** Integers beyond 2^53 keep every digit where the browser can tell what was written (else they are rounded). */
  function keepBigIntegers(_key, value, context) {
    const big = typeof value === 'number' && Number.isInteger(value) && !Number.isSafeInteger(value);
    return big && context?.source && JSON.rawJSON ? JSON.rawJSON(context.source) : value;
  }

  /** What a task's sentence says beyond the word for its state, which stands in front of it. */
  function beyond(word, sentence) {
    if (sentence === 'Pending...') return '';
    const rest = sentence.slice(word.length);
    const saysItAgain = sentence.startsWith(word) && !/^\p{L}/u.test(rest);
    return saysItAgain ? rest.replace(/^[\s.,:;]+/, '') : sentence;
  }

  function asText(value) {
    return typeof value === 'string' ? value : JSON.stringify(value, null, 2);
  }

  // ------------------------------------------------------------------ what can go wrong

  /** An answer that is an error, or no answer at all (`status` 0). The message is a sentence for a person. */
  class Problem extends Error {
    constructor(detail, { status = 0, field = null, retryAfter = 0, body = null } = {}) {
      super(detail);
      Object.assign(this, { status, field, retryAfter, body });
    }

    static noAnswer() {
      return new Problem(navigator.onLine ? 'The server does not answer.' : 'This computer is offline.');
    }

    static from(response, body) {
      return new Problem(body?.detail ?? body?.title ?? `The server answers with error ${response.status}.`, {
        status: response.status,
        field: body?.field,
        retryAfter: Number(response.headers.get('Retry-After')) || 0,
        body,
      });
    }
  }

  function parsed(text) {
    try {
      return JSON.parse(text, keepBigIntegers);
    } catch {
      return null;
    }
  }

  /** What a person has chosen on this page, kept for the next visit where the browser lets us. */
  const kept = {
    read(key) {
      try {
        return JSON.parse(localStorage.getItem(key));
      } catch {
        return null; // storage is blocked, or another program wrote there
      }
    },
    write(key, value) {
      try {
        localStorage.setItem(key, JSON.stringify(value));
      } catch {
        // Storage is blocked or full: the choice holds until the next reload, no longer.
      }
    },
  };

  /** Finished bars a person has put away. They stay away after a reload, although the server still lists them. */
  const hidden = {
    read() {
      const ids = kept.read(HIDDEN_KEY);
      return new Set(Array.isArray(ids) ? ids : []);
    },
    write(ids) {
      kept.write(HIDDEN_KEY, [...ids]);
    },
  };

  // ------------------------------------------------------------------ one bar

  /** The bar itself: nanobar where it is loaded, the browser's own <progress> where not or where motion is unwanted. */
  class Meter {
    element = element('div', 'longtask-meter');
    #percent = 0;
    #nanobar = null;

    constructor() {
      this.element.role = 'progressbar';
      this.element.ariaValueMin = '0';
      this.element.ariaValueMax = '100';
      this.draw();
    }

    show(percent, words) {
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

  /** One task's place on the page. `show()` draws a status object; `task` and `phase` are the last one drawn. */
  class Bar {
    element = element('article', 'longtask');
    phase = '';
    task = {};
    /** When this page first saw the task wait, by the page's own clock; null while it does not. */
    waitingSince = null;

    #meter = new Meter();
    #name = element('strong', '');
    #percent = element('p', 'longtask-percent');
    #buttons = element('div', 'longtask-buttons');
    #word = element('strong', 'longtask-word');
    #message = element('span', 'longtask-message');
    #facts = element('p', 'longtask-facts');
    #result = element('div', 'longtask-result');
    #note = element('p', 'longtask-note');
    #cancel;
    #remove;
    #sentence = null;

    /** `cancel` and `remove` are called for the buttons; without `remove` a finished bar stays. */
    constructor(task, { href, cancel, remove }) {
      this.id = task.task_id;
      this.#cancel = this.#button('Cancel', () => cancel(this.id));
      this.#remove = remove ? this.#button('Hide', () => remove(this.id)) : null;
      this.#build(href);
      this.show(task);
    }

    get ended() {
      return ENDS.has(this.phase);
    }

    get name() {
      return this.task.task ? inWords(this.task.task) : 'Task';
    }

    /** The name that tells it from its neighbours. */
    get label() {
      return `${this.name} ${this.id.slice(0, 8)}`;
    }

    /** The word for its state: ours for the states we know, the task's own for a custom one. */
    get word() {
      const custom = this.phase === 'ended' || (this.phase === 'running' && this.task.state !== 'PROGRESS');
      return custom ? inWords(this.task.state) : WORDS[this.phase];
    }

    /** Draws a status object. True if it says anything new. */
    show(task) {
      const changed = JSON.stringify(task) !== JSON.stringify(this.task);
      this.task = task;
      this.#enter(phaseOf(task));
      this.#say(beyond(this.word, task.status));
      this.#draw();
      return changed;
    }

    /** The server has forgotten the task: say so, and leave the rest as it was last seen. */
    expire() {
      this.#enter('expired');
      this.#say(EXPIRED);
      this.#draw();
    }

    /** While a cancel request is on its way. */
    cancelling(yes) {
      const hadFocus = document.activeElement === this.#cancel;
      this.#cancel.disabled = yes;
      setText(this.#cancel.firstChild, yes ? 'Cancelling…' : 'Cancel');
      if (hadFocus) this.element.focus(); // a disabled button would drop the keyboard's place
    }

    /** A sentence under the bar, such as why it could not be cancelled. */
    note(sentence) {
      this.#note.hidden = !sentence;
      setText(this.#note, sentence);
    }

    redraw() {
      this.#meter.draw();
    }

    #build(href) {
      const link = element('a', 'longtask-id', this.id.slice(0, 8));
      link.href = href;
      link.title = `The page of this task, ${this.id}`;
      this.#buttons.append(this.#cancel);
      if (this.#remove) this.#buttons.append(this.#remove);
      this.#note.role = 'alert';
      this.#note.hidden = true;
      this.element.tabIndex = -1;
      this.element.dataset.taskId = this.id;
      this.element.append(
        element('div', 'longtask-head',
          element('p', 'longtask-name', this.#name, ' ', link), this.#percent),
        this.#meter.element,
        element('div', 'longtask-body', this.#buttons,
          element('p', 'longtask-state', this.#word, ' ', this.#message), this.#result, this.#facts, this.#note),
      );
    }

    /** A button whose name says, to who does not see the bar around it, what it is for. */
    #button(label, onClick) {
      return button(onClick, element('span', '', label), element('span', 'longtask-unseen'));
    }

    #enter(phase) {
      this.phase = phase;
      this.waitingSince = phase === 'waiting' ? this.waitingSince ?? performance.now() : null;
      this.element.dataset.phase = phase;
      this.element.dataset.state = this.task.state;
    }

    #say(sentence) {
      if (sentence === this.#sentence) return;
      this.#sentence = sentence;
      this.#message.replaceChildren(...withLocalTimes(sentence));
    }

    #draw() {
      const { percent } = this.task;
      this.#drawName();
      setText(this.#word, this.word);
      setText(this.#percent, this.#percentText());
      this.#meter.show(percent, [`${percent}%`, this.word, this.#sentence].filter(Boolean).join(', '));
      this.#drawFacts();
      this.#drawResult();
      this.#cancel.hidden = this.ended;
      if (this.#remove) this.#remove.hidden = !this.ended;
    }

    /** With each refresh: a start route may have answered only the id. */
    #drawName() {
      setText(this.#name, this.name);
      this.element.ariaLabel = this.label;
      this.#meter.element.ariaLabel = this.label;
      for (const node of this.#buttons.querySelectorAll('.longtask-unseen')) setText(node, ` ${this.label}`);
    }

    #percentText() {
      const { percent, eta } = this.task;
      const left = this.phase === 'running' && typeof eta === 'number' ? `${duration(eta)} left · ` : '';
      return `${left}${percent}%`;
    }

    #drawFacts() {
      const { submitted, started, finished, attempt } = this.task;
      const facts = [];
      if (attempt > 1) facts.push([`Attempt ${attempt}`]);
      if (submitted) facts.push(['Submitted ', localTime(submitted)]);
      if (started) facts.push(['Started ', localTime(started)]);
      if (finished) facts.push(['Finished ', localTime(finished)]);
      if (started && finished) facts.push([`Took ${duration((new Date(finished) - new Date(started)) / 1000)}`]);
      const nodes = facts.map((fact) => element('span', '', ...fact));
      const line = nodes.map((node) => node.textContent).join();
      if (line === this.#facts.dataset.line) return;
      this.#facts.dataset.line = line;
      this.#facts.replaceChildren(...nodes.flatMap((node) => [node, ' ']));
    }

    #drawResult() {
      const { state, result } = this.task;
      if (state !== 'SUCCESS' || result === null || result === undefined || this.#result.hasChildNodes()) return;
      const text = asText(result);
      const shown = element(text.includes('\n') ? 'pre' : 'p', 'longtask-value', text);
      if (text.length <= LONG_RESULT) return this.#result.append(element('span', 'longtask-label', 'Result'), ' ', shown);
      const summary = element('summary', '',
        element('span', 'longtask-label', 'Result'), ' ',
        element('span', 'longtask-glimpse', `${text.slice(0, LONG_RESULT / 2)}…`), ' ',
        element('span', 'longtask-more', `all ${text.length.toLocaleString()} characters`));
      this.#result.append(element('details', '', summary, shown));
    }
  }

  // ------------------------------------------------------------------ what the page says beside the bars

  /** The calm sentences above the bars: the server is away, no worker is running. */
  class Banners {
    element = element('div', 'longtask-banners');
    #reason = element('strong', '');
    #more = element('span', '');
    #since = element('span', '');
    #pause = element('span', '');
    #retry;
    #away;
    #workers;
    #countdown = null;

    constructor({ retry, workerCommand }) {
      this.#retry = button(retry, 'Try now');
      this.#away = element('div', 'longtask-banner',
        element('p', '', this.#reason, ' ', this.#more, ' ', this.#since, ' ', this.#pause), this.#retry);
      this.#workers = element('div', 'longtask-banner',
        element('p', '', element('strong', '', 'No worker is running,'),
          ' so the waiting tasks cannot begin. They begin by themselves once one is started: ',
          element('code', '', workerCommand)));
      this.#away.hidden = true;
      this.#workers.hidden = true;
      this.element.append(this.#away, this.#workers);
    }

    away(reason, lastSeen, pauseSeconds) {
      const [first, ...more] = reason.split(/(?<=[.!?])\s+/);
      setText(this.#reason, first);
      setText(this.#more, more.join(' '));
      this.#since.replaceChildren(...(lastSeen ? ['The bars show what was known at ', localTime(lastSeen), '.'] : []));
      this.#away.hidden = false;
      this.#workers.hidden = true;
      this.#countDown(Math.round(pauseSeconds));
    }

    trying() {
      clearInterval(this.#countdown);
      setText(this.#pause, 'Trying again…');
      this.#retry.disabled = true;
    }

    back() {
      clearInterval(this.#countdown);
      this.#away.hidden = true;
    }

    set noWorker(yes) {
      this.#workers.hidden = !yes;
    }

    get noWorker() {
      return !this.#workers.hidden;
    }

    #countDown(seconds) {
      clearInterval(this.#countdown);
      this.#retry.disabled = false;
      let left = seconds;
      const tell = () => setText(this.#pause, `Trying again in ${duration(left)}.`);
      tell();
      this.#countdown = setInterval(() => {
        left -= 1;
        tell();
      }, 1000);
    }
  }

  /** Errors of a start, at the form: beside the field they are about, or at the form's end. */
  const formErrors = {
    clear(form) {
      for (const field of form.querySelectorAll('[aria-invalid]')) {
        field.removeAttribute('aria-invalid');
        field.removeAttribute('aria-describedby');
      }
      for (const message of form.querySelectorAll('.longtask-error')) message.remove();
    },

    /** An outage is over. */
    clearPassed() {
      for (const message of document.querySelectorAll('.longtask-error[data-passes]')) message.remove();
    },

    show(form, sentence, fieldName, passes) {
      const message = element('p', 'longtask-error', sentence);
      message.role = 'alert';
      message.toggleAttribute('data-passes', passes);
      const field = fieldName && form.querySelector(`[name="${CSS.escape(fieldName)}"]:not([type="hidden"])`);
      if (!field) return form.append(message);
      message.id = `longtask-error-${crypto.getRandomValues(new Uint32Array(1))[0]}`;
      const folded = field.closest('details');
      if (folded) folded.open = true;
      (field.closest('label') ?? field).after(message);
      field.setAttribute('aria-invalid', 'true');
      field.setAttribute('aria-describedby', message.id);
      field.focus();
    },
  };

  // ------------------------------------------------------------------ the client

  class LongTask {
    /** Every bar of the page by its task's id. */
    bars = new Map();

    #announcer = element('div', 'longtask-unseen');
    #banners;
    #list = null;
    #listening = new AbortController();
    #timer = null;
    #soonTimer = null;
    #refreshing = null;
    #restored = true;
    #pause;
    #away = false;
    #failures = 0; // in a row, since the last try that somebody asked for
    #lastSeen = null;
    #hiddenSince = 0; // if the page is hidden at all
    #workersAskedAt = -Infinity;
    #workersTimer = null;
    #stream = null; // the open EventSource, with the ids that it tells of

    constructor({ base = '', pollSeconds = 2, workerCommand = 'celery -A celery_worker worker' } = {}) {
      this.base = base;
      this.pollSeconds = Number(pollSeconds);
      this.#pause = this.pollSeconds;
      this.#banners = new Banners({ retry: () => this.#tryNow(), workerCommand });
      this.#announcer.role = 'status';
      this.#announcer.ariaLive = 'polite';
    }

    // -------- to be replaced or overridden; they draw nothing, the bars have been drawn already

    /** A task was started from this page. */
    onStarted(task, bar) {}
    /** A task started earlier is back after a reload. */
    onRestored(task, bar) {}
    /** Something about a task that has not ended is new. */
    onProgress(task, bar) {}
    onRetry(task, bar) {}
    onSuccess(task, bar) {}
    /** It raised, or ended in another way that is no success. */
    onFailure(task, bar) {}
    onCancelled(task, bar) {}
    /** The server has forgotten the task. */
    onExpired(task, bar) {}
    /** After any of the four above: it has ended, in whatever way. */
    onEnded(task, bar) {}
    /** A start was refused or not answered; the form already says so. */
    onStartFailed(problem, form) {}
    /** The server or the network is away; the next try is in so many seconds. */
    onOffline(problem, pauseSeconds) {}
    onOnline() {}

    /** Makes the bar of a task. A subclass may return its own, with the same methods. */
    createBar(task, buttons) {
      return new Bar(task, { href: `${this.base}/status/${task.task_id}`, ...buttons });
    }

    // -------- what a page can do

    /** Takes over the page's forms, brings back its bars and begins to poll. */
    start() {
      const { signal } = this.#listening;
      document.body.append(this.#announcer);
      document.addEventListener('submit', (event) => this.#onSubmit(event), { signal });
      document.addEventListener('click', (event) => this.#onClick(event), { signal });
      document.addEventListener('change', (event) => this.#onChange(event), { signal });
      document.addEventListener('visibilitychange', () => this.#onVisibilityChange(), { signal });
      addEventListener('online', () => this.#away && this.#tryNow(), { signal });
      // nanobar is loaded beside this script and may come later; `load` waits for both.
      addEventListener('load', () => this.bars.forEach((bar) => bar.redraw()), { signal });
      for (const node of document.querySelectorAll('[data-longtask-task]')) this.#takeOver(node);
      this.#offerLive();
      this.#restored = !document.querySelector('form[data-longtask], [data-longtask-list]');
      return this.refresh();
    }

    stop() {
      this.#listening.abort();
      clearTimeout(this.#timer);
      clearTimeout(this.#soonTimer);
      this.#closeStream();
    }

    /** Whether every change is told at once. */
    get live() {
      return kept.read(LIVE_KEY) === true;
    }

    set live(yes) {
      kept.write(LIVE_KEY, yes);
      this.#offerLive();
      if (!yes) this.#closeStream();
      this.refresh();
    }

    /** Starts a form's task, as often as its `data-longtask-count` field says. */
    async submit(form, submitter = null) {
      if (form.getAttribute('aria-busy') === 'true') return;
      form.setAttribute('aria-busy', 'true');
      formErrors.clear(form);
      const { url, body, count } = this.#readForm(form, submitter);
      const started = [];
      try {
        while (started.length < count) started.push(await this.run(url, body, form));
      } catch (problem) {
        this.#startFailed(problem, form, started.length, count);
      } finally {
        form.removeAttribute('aria-busy');
      }
      if (started.length) this.announce(`${started[0].name} started${count > 1 ? `, ${started.length} times` : ''}.`);
    }

    /** Starts one task without a form: `run('/longtask', { steps: 5 })`. Answers its bar; throws a Problem. */
    async run(url, body = {}, form = null) {
      const isForm = body instanceof FormData || body instanceof URLSearchParams;
      const bar = this.watch(await this.request(url, {
        method: 'POST',
        body: isForm ? body : JSON.stringify(body),
        headers: isForm ? {} : { 'Content-Type': 'application/json' },
        // An upload may take its time.
        timeout: body instanceof FormData ? null : ANSWER_WITHIN_MS,
      }), form);
      this.#refreshSoon();
      this.#call('onStarted', bar.task, bar);
      return bar;
    }

    /** Puts a bar on the page, on top of the others, and keeps it up to date. Takes a status object or a bare id. */
    watch(task, form = null) {
      const whole = this.#whole(typeof task === 'string' ? { task_id: task } : task);
      if (this.bars.has(whole.task_id)) return this.bars.get(whole.task_id);
      const bar = this.createBar(whole, {
        cancel: (id) => this.cancel(id),
        remove: (id) => this.remove(id),
      });
      this.bars.set(bar.id, bar);
      this.#listFor(form).prepend(bar.element);
      this.#offerClear();
      this.#schedule();
      return bar;
    }

    /** Takes news of a task: a status object, or null when the server does not know it. */
    update(id, task) {
      const bar = this.bars.get(id);
      // An answer that was under way when the task ended (say, was cancelled here) is old news.
      if (!bar || bar.ended) return;
      if (task === null) bar.expire();
      else if (!bar.show(this.#whole(task))) return;
      this.#call(HANDLERS[bar.phase], bar.task, bar);
      if (bar.ended) this.#ended(bar);
    }

    async cancel(id) {
      const bar = this.bars.get(id);
      bar.note('');
      bar.cancelling(true);
      try {
        this.update(id, await this.request(`${this.base}/status/${id}`, { method: 'DELETE' }));
      } catch (problem) {
        this.#cancelFailed(problem, bar);
      }
      bar.cancelling(false);
    }

    /** Takes a finished bar off the page, and keeps it off after a reload. */
    remove(id) {
      const bar = this.bars.get(id);
      const list = bar.element.parentElement;
      const next = bar.element.nextElementSibling ?? bar.element.previousElementSibling ?? list;
      const hadFocus = bar.element.contains(document.activeElement);
      this.bars.delete(id);
      bar.element.remove();
      hidden.write(hidden.read().add(id));
      this.#offerClear();
      if (hadFocus) next.focus();
    }

    /** Takes all finished bars off the page. */
    clear() {
      for (const bar of [...this.bars.values()]) if (bar.ended) this.remove(bar.id);
      this.#list.focus(); // the button that was pressed has gone as well
    }

    /** Asks for the state of all bars now. Polling goes on from there. */
    refresh() {
      clearTimeout(this.#timer);
      this.#timer = null;
      this.#refreshing ??= this.#refresh().finally(() => {
        this.#refreshing = null;
        this.#schedule();
      });
      return this.#refreshing;
    }

    /** Every request goes through here. Answers the JSON; throws a Problem. */
    async request(url, { timeout = ANSWER_WITHIN_MS, headers = {}, ...init } = {}) {
      const signal = timeout ? AbortSignal.timeout(timeout) : null;
      let response;
      let text;
      try {
        response = await fetch(url, { ...init, signal, headers: { Accept: 'application/json', ...headers } });
        text = await response.text();
      } catch {
        throw Problem.noAnswer();
      }
      const body = parsed(text);
      if (!response.ok) throw Problem.from(response, body);
      if (body === null) throw new Problem('Something other than this server answers.');
      return body;
    }

    /** Says a sentence to a screen reader, when it has nothing else to say. */
    announce(sentence) {
      const line = element('p', '', sentence);
      this.#announcer.append(line);
      setTimeout(() => line.remove(), ANNOUNCEMENT_MS);
    }

    // -------- the page

    #onSubmit(event) {
      if (!event.target.matches('form[data-longtask]')) return;
      event.preventDefault();
      this.submit(event.target, event.submitter);
    }

    #onClick(event) {
      if (event.target.closest('[data-longtask-clear]')) this.clear();
    }

    #onChange(event) {
      if (event.target.matches('[data-longtask-live]')) this.live = event.target.checked;
    }

    #onVisibilityChange() {
      this.#hiddenSince = performance.now();
      const wasLive = this.#stream !== null;
      if (document.hidden) this.#closeStream(); // a browser has six connections to a server, for all its tabs
      if (this.#needsPolling() && (wasLive || !document.hidden)) this.refresh();
    }

    /** The switch is there only where this script is. */
    #offerLive() {
      for (const node of document.querySelectorAll('[data-longtask-live]')) {
        node.checked = this.live;
        (node.closest('label') ?? node).hidden = false;
      }
    }

    /** The page came with a task drawn by the server: the same bar, but alive. */
    #takeOver(node) {
      const task = JSON.parse(node.dataset.longtaskTask, keepBigIntegers);
      const bar = this.createBar(task, { cancel: (id) => this.cancel(id) });
      this.bars.set(bar.id, bar);
      node.replaceWith(bar.element);
      if (!this.#banners.element.isConnected) bar.element.before(this.#banners.element);
    }

    #listFor(form) {
      this.#list ??= document.querySelector('[data-longtask-list]') ?? this.#makeList(form);
      this.#list.tabIndex = -1;
      if (!this.#banners.element.isConnected) this.#list.before(this.#banners.element);
      return this.#list;
    }

    #makeList(form) {
      const list = element('div', 'longtask-list');
      const before = form ?? document.querySelector('form[data-longtask]');
      if (before) before.after(list);
      else document.body.append(list);
      return list;
    }

    /** A "hide finished" button of the page is there only while there is something to hide. */
    #offerClear() {
      const some = [...this.bars.values()].some((bar) => bar.ended);
      for (const node of document.querySelectorAll('[data-longtask-clear]')) node.hidden = !some;
    }

    // -------- starting

    #readForm(form, submitter) {
      // Attributes, not properties: a field named "action" would hide the property.
      const attribute = (name) => submitter?.getAttribute(`form${name}`) ?? form.getAttribute(name) ?? '';
      const data = new FormData(form, submitter);
      const counter = form.querySelector('[data-longtask-count]');
      if (counter) data.delete(counter.name);
      return {
        url: new URL(attribute('action'), location),
        body: attribute('enctype') === 'multipart/form-data' ? data : new URLSearchParams(data),
        count: Number(counter?.value) || 1,
      };
    }

    #startFailed(problem, form, started, count) {
      if (!(problem instanceof Problem)) throw problem;
      const before = started ? `${started} of ${count} were started. ` : '';
      const unsure = problem.status === 0 ? ' It is not known whether the task was started: look below once the server is back.' : '';
      formErrors.show(form, before + problem.message + unsure, problem.field, problem.status === 503);
      this.#call('onStartFailed', problem, form);
      if (problem.status !== 0) return;
      this.#restored = false; // the server may have taken it after all, and will list it
      this.#tryNow();
    }

    // -------- the course of a task

    /** Start routes may answer less than a whole status object, at least the id. */
    #whole(task) {
      return { state: 'PENDING', status: '', percent: 0, ...task };
    }

    #ended(bar) {
      this.announce(`${bar.label}: ${bar.word}.`);
      this.#call('onEnded', bar.task, bar);
      this.#offerClear();
    }

    #cancelFailed(problem, bar) {
      if (!(problem instanceof Problem)) throw problem;
      if (problem.status === 404) return this.update(bar.id, null);
      if (problem.status === 409) return this.refresh(); // it ended first: show how
      bar.note(`Not cancelled. ${problem.message}`);
    }

    /** A fault in a page's handler is that page's: reported to the console, and the bars go on. */
    #call(handler, ...subject) {
      try {
        this[handler](...subject);
      } catch (error) {
        reportError(error);
      }
      const [task, bar] = subject;
      if (!this.bars.has(task?.task_id)) return;
      bar.element.dispatchEvent(new CustomEvent('longtask', { bubbles: true, detail: { task, bar } }));
    }

    // -------- polling

    #running() {
      return [...this.bars.values()].filter((bar) => !bar.ended);
    }

    #needsPolling() {
      return this.#away || !this.#restored || this.#running().length > 0;
    }

    #schedule() {
      const hiddenForLong = document.hidden && performance.now() - this.#hiddenSince > HIDDEN_FOR_LONG_MS;
      if (this.#refreshing || this.#listening.signal.aborted || hiddenForLong || !this.#needsPolling()) return;
      if (this.live && !document.hidden && !this.#away && this.#restored) return this.#follow();
      this.#timer ??= setTimeout(() => this.refresh(), this.#pause * 1000);
    }

    /** Once for all that is started until then. Where a stream tells of every change there is nothing to ask. */
    #refreshSoon() {
      this.#soonTimer ??= setTimeout(async () => {
        this.#soonTimer = null;
        await this.#refreshing; // it may have asked before the start
        if (!this.#stream && this.#needsPolling()) this.refresh();
      }, SOON_MS);
    }

    async #refresh() {
      if (this.#away) this.#banners.trying();
      try {
        if (!this.#restored) await this.#restore();
        await this.#poll();
        this.#cameBack();
      } catch (problem) {
        if (!(problem instanceof Problem)) throw problem;
        this.#wentAway(problem);
      }
    }

    async #restore() {
      const { tasks } = await this.request(`${this.base}/tasks`);
      const put = hidden.read();
      hidden.write(tasks.map((task) => task.task_id).filter((id) => put.has(id)));
      // The server lists the newest first and each bar goes on top: from the oldest on.
      for (const task of tasks.toReversed()) {
        if (put.has(task.task_id) || this.bars.has(task.task_id)) continue;
        const bar = this.watch(task);
        this.#call('onRestored', bar.task, bar);
      }
      this.#restored = true;
      this.#listFor(null).removeAttribute('aria-busy');
    }

    async #poll() {
      const ids = this.#running().map((bar) => bar.id);
      for (let from = 0; from < ids.length; from += IDS_PER_REQUEST) {
        const query = new URLSearchParams(ids.slice(from, from + IDS_PER_REQUEST).map((id) => ['id', id]));
        const { tasks } = await this.request(`${this.base}/status?${query}`);
        for (const [id, task] of Object.entries(tasks)) this.update(id, task);
      }
    }

    // -------- being told

    /** One stream for all bars that move; a new one when another bar has come. Bars beyond the limit are polled. */
    #follow() {
      const ids = this.#running().map((bar) => bar.id);
      if (ids.length > IDS_PER_REQUEST) this.#timer ??= setTimeout(() => this.refresh(), this.#pause * 1000);
      const told = ids.slice(0, IDS_PER_REQUEST);
      if (this.#stream && told.every((id) => this.#stream.ids.has(id))) return;
      this.#closeStream();
      const stream = new EventSource(`${this.base}/status?${new URLSearchParams(told.map((id) => ['id', id]))}`);
      this.#stream = Object.assign(stream, { ids: new Set(told) });
      const listen = (name, listener) => stream.addEventListener(name, (event) => {
        if (stream === this.#stream) listener(parsed(event.data));
      });
      listen('message', (task) => this.#told(task.task_id, task));
      listen('gone', ({ task_id: id }) => this.#told(id, null));
      // Redis is away, or the stream has ended: ask once, which finds out what is so and then comes back here.
      listen('problem', () => this.#ask());
      listen('error', () => this.#ask());
    }

    #told(id, task) {
      this.#lastSeen = new Date().toISOString();
      this.update(id, task);
      if (this.#running().length === 0) this.#closeStream();
      this.#workersTimer ??= setTimeout(() => {
        this.#workersTimer = null;
        this.#lookForWorkers();
      }, WAITS_TOO_LONG_MS + 100);
    }

    #ask() {
      this.#closeStream();
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => this.refresh(), this.#pause * 1000);
    }

    #closeStream() {
      this.#stream?.close();
      this.#stream = null;
    }

    // -------- when something is missing

    #wentAway(problem) {
      this.#pause = Math.min(LONGEST_PAUSE_SECONDS, Math.max(this.pollSeconds * 2 ** this.#failures, problem.retryAfter));
      this.#failures += 1;
      if (this.bars.size === 0) this.#listFor(null);
      this.#stale = true;
      this.#banners.away(problem.message, this.bars.size ? this.#lastSeen : null, this.#pause);
      if (!this.#away) this.announce(problem.message);
      this.#away = true;
      this.#call('onOffline', problem, this.#pause);
    }

    #cameBack() {
      this.#lastSeen = new Date().toISOString();
      this.#pause = this.pollSeconds;
      this.#failures = 0;
      if (this.#away) {
        this.#away = false;
        this.#stale = false;
        this.#banners.back();
        formErrors.clearPassed();
        this.announce('The server is back.');
        this.#call('onOnline');
      }
      this.#lookForWorkers();
    }

    /** At once, and the pauses begin to grow anew. */
    #tryNow() {
      this.#failures = 0;
      this.refresh();
    }

    /** Bars that may be out of date are drawn paler. */
    set #stale(yes) {
      for (const bar of this.bars.values()) bar.element.classList.toggle('longtask-stale', yes && !bar.ended);
    }

    async #lookForWorkers() {
      const now = performance.now();
      const waiting = this.#running().some((bar) => bar.waitingSince !== null && now - bar.waitingSince > WAITS_TOO_LONG_MS);
      if (!waiting) {
        this.#banners.noWorker = false;
        return;
      }
      if (!this.#banners.noWorker && now - this.#workersAskedAt < WORKERS_EVERY_MS) return;
      this.#workersAskedAt = now;
      // Not healthy is an error status with the same answer. No answer at all is for the next poll to tell.
      const health = await this.request(`${this.base}/health`).catch((problem) => problem.body);
      if (health?.redis !== 'up' || this.#away) return;
      const nobody = health.workers === 0;
      if (nobody && !this.#banners.noWorker) this.announce('No worker is running.');
      this.#banners.noWorker = nobody;
    }
  }

  globalThis.LongTask = LongTask;
  globalThis.LongTask.Bar = Bar;
  globalThis.LongTask.localTime = localTime;

  const options = document.currentScript?.dataset ?? {};
  if (!('manual' in options)) {
    globalThis.longtask = new LongTask(options);
    // After the page's other scripts, so that they can put their handlers in place.
    if (document.readyState === 'complete') globalThis.longtask.start();
    else document.addEventListener('DOMContentLoaded', () => globalThis.longtask.start());
  }
})();
