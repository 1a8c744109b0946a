// Choices and started tasks of this page, kept in the browser's storage for the next visit.

function kept(storage, key) {
  return {
    read() {
      try {
        return JSON.parse(globalThis[storage].getItem(key));
      } catch {
        return null; // storage is blocked, or another program wrote there
      }
    },
    write(value) {
      try {
        globalThis[storage].setItem(key, JSON.stringify(value));
      } catch {
        // Storage is blocked or full: the value is lost at the next reload.
      }
    },
  };
}

/** Whether the page shows every change at once, by a stream. */
export const live = kept('localStorage', 'longtask.live');

/** Whether a person wants notifications of the ends of tasks. */
export const notify = kept('localStorage', 'longtask.notify');

const hiddenIds = kept('localStorage', 'longtask.hidden');

/** The ids of the finished bars that a person has hidden. They stay hidden after a reload. */
export const hidden = {
  read() {
    const ids = hiddenIds.read();
    return new Set(Array.isArray(ids) ? ids : []);
  },
  write: (ids) => hiddenIds.write([...ids]),
};

const MOST_STARTED = 100;
const startedHere = kept('sessionStorage', 'longtask.started');

/** The tasks started in this tab, newest last: pairs of a task's id and the id of the list that has its bar. */
export const started = {
  read() {
    const pairs = startedHere.read();
    return new Map(Array.isArray(pairs) ? pairs : []);
  },
  add: (id, list) => startedHere.write([...started.read(), [id, list]].slice(-MOST_STARTED)),
};
