// What a person has chosen on this page, kept for the next visit where the browser lets us.

function read(key) {
  try {
    return JSON.parse(localStorage.getItem(key));
  } catch {
    return null; // storage is blocked, or another program wrote there
  }
}

function write(key, value) {
  try {
    localStorage.setItem(key, JSON.stringify(value));
  } catch {
    // Storage is blocked or full: the choice holds until the next reload, no longer.
  }
}

/** Whether every change is to be told at once. */
export const live = {
  read: () => read('longtask.live') === true,
  write: (yes) => write('longtask.live', yes),
};

/** Finished bars a person has put away, by id. They stay away after a reload, although the server still lists them. */
export const hidden = {
  read() {
    const ids = read('longtask.hidden');
    return new Set(Array.isArray(ids) ? ids : []);
  },
  write: (ids) => write('longtask.hidden', [...ids]),
};
