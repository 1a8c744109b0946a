// The page's client: one bar a task, all bars of a page kept up to date by one request every two seconds. What it
// knows comes from the status object (see the README); it draws nothing the server has not said.
//
//   {% include "longtask/head.html" %}                  the style sheet, nanobar and this script, or by hand:
//   <link id="nanobarcss" rel="stylesheet" href="…/longtask.css">
//   <script src="…/longtask.js" type="module"></script>
//
//   <form data-longtask action="/longtask" method="post"><button>Start</button></form>
//   <div data-longtask-list></div>                      where the bars go; without it, after the form
//   <label hidden><input type="checkbox" data-longtask-live> Live</label>
//
// Live, every change is told at once, by one stream for all bars. Where it fails the page polls, and tries it again
// with the next answer.
//
// The script starts `window.longtask`. Any `on…` method of it (client/handlers.js) may be replaced:
//
//   longtask.onSuccess = (task, bar) => console.log(task.task_id, task.result);
//
// or, with `data-manual` on the script tag, the class extended:
//
//   new (class extends LongTask { onFailure(task, bar) { … } })({ pollSeconds: 5 }).start();
//
// Several scripts of a page can follow the bars by an event, which comes after each of these methods that is given
// a bar:
//
//   document.addEventListener('longtask', ({ detail: { task, bar } }) => { … });
//
// They are loaded with `defer` or as modules themselves, after this one. Options are `data-` attributes of the script
// tag or the constructor's: `base` (the path the app is mounted at), `pollSeconds`, `workerCommand`.

import { LongTask } from './client/client.js';
import { Bar } from './drawing/bar.js';
import { localTime } from './drawing/times.js';

globalThis.LongTask = Object.assign(LongTask, { Bar, localTime });

// A module has no `document.currentScript`.
const options = [...document.scripts].find((script) => script.src === import.meta.url)?.dataset ?? {};
if (!('manual' in options)) {
  globalThis.longtask = new LongTask(options);
  // After the page's other scripts, so that they can put their handlers in place.
  if (document.readyState === 'complete') globalThis.longtask.start();
  else document.addEventListener('DOMContentLoaded', () => globalThis.longtask.start());
}
