// What a person has chosen and started on this page, kept for the next visit where the browser lets us.

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
        // Storage is blocked or full: it holds until the next reload, no longer.
      }
    },
  };
}

/** Whether every change is to be told at once. */
export const live = kept('localStorage', 'longtask.live');

const hiddenIds = kept('localStorage', 'longtask.hidden');

/** Finished bars a person has put away, by id. They stay away after a reload, although the server still lists them. */
export const hidden = {
  read() {
    const ids = hiddenIds.read();
    return new Set(Array.isArray(ids) ? ids : []);
  },
  write: (ids) => hiddenIds.write([...ids]),
};

const MOST_STARTED = 100;
const startedHere = kept('sessionStorage', 'longtask.started');

/** What was started in this tab, newest last: pairs of an id and the id of the list that its bar is in. */
export const started = {
  read() {
    const pairs = startedHere.read();
    return new Map(Array.isArray(pairs) ? pairs : []);
  },
  add: (id, list) => startedHere.write([...started.read(), [id, list]].slice(-MOST_STARTED)),
};
