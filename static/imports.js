// Under the bar of each import: what is in the database, as of the last batch.

const SHOWN_ROWS = 5;
const SHOWN_REFUSED = 3;
const MEGABYTE = 1_000_000;
const MOST_MS = 10_000; // for an answer

/** A bar's element to what is drawn under it. */
const drawn = new WeakMap();

function element(tag, className, ...children) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  node.append(...children);
  return node;
}

function counted(number, noun) {
  return `${number.toLocaleString()} ${noun}${number === 1 ? '' : 's'}`;
}

async function asked(url) {
  try {
    const answer = await fetch(url, { headers: { Accept: 'application/json' }, signal: AbortSignal.timeout(MOST_MS) });
    return { status: answer.status, document: await answer.json() };
  } catch {
    return { status: 0 };
  }
}

class Snapshot {
  element = element('details', 'snapshot');
  #body = element('div', '');
  #asking = false;
  #askAgain = false;

  constructor(bar) {
    this.url = new URL(`../imports/${bar.task.task_id}`, import.meta.url);
    const { finished } = bar.task;
    this.element.open = !finished; // what had ended before the page was opened is asked for when it is wanted
    this.element.hidden = !finished;
    this.element.append(element('summary', '', 'What is in the database'), this.#body);
    this.element.addEventListener('toggle', () => this.refresh());
    bar.append(this.element);
  }

  /** One request at a time; what is new meanwhile is asked for once more at the end. */
  async refresh() {
    this.#askAgain = this.#asking;
    if (this.#asking || !this.element.open) return;
    this.#asking = true;
    const { status, document } = await asked(this.url);
    // Of an outage the bar tells; what is drawn stays as it was last seen.
    if (status === 200) this.#draw(document);
    if (status === 404) this.#body.textContent = 'It is no longer kept.';
    this.#asking = false;
    if (this.#askAgain) this.refresh();
  }

  #draw(document) {
    this.element.hidden = document.columns.length === 0; // not begun
    const page = element('a', '', document.finished ? 'All that is kept about it' : 'The same as a page');
    page.href = this.url;
    this.#body.replaceChildren(
      element('p', '', `${document.name}: `, counted(document.rows, 'row'), `, ${document.refused.toLocaleString()} refused. `, page),
      this.#rows(document), ...this.#refused(document));
  }

  #rows({ columns, first_rows: rows }) {
    const head = columns.map(({ name, empty }) =>
      element('th', '', name, element('small', '', empty ? `${empty.toLocaleString()} empty` : 'none empty')));
    const body = rows.slice(0, SHOWN_ROWS).map(({ line, values }) =>
      element('tr', '', element('td', 'number', String(line)), ...values.map((value) => element('td', '', value))));
    return wide('The first rows', element('table', '',
      element('thead', '', element('tr', '', element('th', 'number', 'Line'), ...head)),
      element('tbody', '', ...body)));
  }

  #refused({ refused_lines: lines }) {
    return lines.slice(0, SHOWN_REFUSED).map(({ line, reason }) =>
      element('p', '', `Line ${line.toLocaleString()} refused: ${reason}`));
  }
}

function wide(label, table) {
  const region = element('div', 'wide', table);
  region.role = 'region';
  region.ariaLabel = label;
  region.tabIndex = 0; // so that the keyboard can scroll it
  return region;
}

document.addEventListener('longtask:progress', ({ target: bar, detail: task }) => {
  if (task.task !== 'import_csv') return;
  if (['FAILURE', 'REVOKED'].includes(task.state)) {
    drawn.get(bar)?.element.remove(); // nothing of it is in the database any more
    return;
  }
  if (!drawn.has(bar)) drawn.set(bar, new Snapshot(bar));
  drawn.get(bar).refresh();
});

// A server may end the connection over a file that is too large before the browser has read its answer.
document.addEventListener('change', ({ target }) => {
  const most = Number(target.dataset?.mostBytes);
  if (!most) return;
  const [file] = target.files;
  const tooLarge = file && file.size > most;
  target.setCustomValidity(tooLarge ? `The file is too large: at most ${(most / MEGABYTE).toLocaleString()} MB can be imported.` : '');
  if (tooLarge) target.reportValidity();
});
