// Shows the imported rows, as of the last batch, under the bar of each import. The task reports them as its `meta`.

const MEGABYTE = 1_000_000;

/** Maps the element of a bar to the snapshot under it. */
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

class Snapshot {
  element = element('details', 'snapshot');
  #body = element('div', '');

  constructor(bar) {
    this.url = new URL(`../imports/${bar.task.task_id}`, import.meta.url);
    this.element.open = !bar.task.finished; // that of an import which had ended before is folded
    this.element.hidden = true;
    this.element.append(element('summary', '', 'What is in the database'), this.#body);
    bar.append(this.element);
  }

  draw(document) {
    this.element.hidden = document.columns.length === 0; // the header has not been read
    const page = element('a', '', document.finished ? 'All details' : 'Open as a page');
    page.href = this.url;
    this.#body.replaceChildren(
      element('p', '', `${document.name}: `, counted(document.rows, 'row'), `, ${document.refused.toLocaleString()} refused. `, page),
      this.#rows(document), ...this.#refused(document));
  }

  #rows({ columns, first_rows: rows }) {
    const head = columns.map(({ name, empty }) =>
      element('th', '', name, element('small', '', empty ? `${empty.toLocaleString()} empty` : 'none empty')));
    const body = rows.map(({ line, values }) =>
      element('tr', '', element('td', 'number', String(line)), ...values.map((value) => element('td', '', value))));
    return wide('The first rows', element('table', '',
      element('thead', '', element('tr', '', element('th', 'number', 'Line'), ...head)),
      element('tbody', '', ...body)));
  }

  #refused({ refused_lines: lines }) {
    return lines.map(({ line, reason }) =>
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
    drawn.get(bar)?.element.remove(); // its rows have been removed from the database
    return;
  }
  if (!drawn.has(bar)) drawn.set(bar, new Snapshot(bar));
  if (task.meta) drawn.get(bar).draw(task.meta);
});

// Checked here, too, since a server may close the connection before the browser has read the error.
document.addEventListener('change', ({ target }) => {
  const most = Number(target.dataset?.mostBytes);
  if (!most) return;
  const [file] = target.files;
  const tooLarge = file && file.size > most;
  target.setCustomValidity(tooLarge ? `The file is too large: at most ${(most / MEGABYTE).toLocaleString()} MB can be imported.` : '');
  if (tooLarge) target.reportValidity();
});
