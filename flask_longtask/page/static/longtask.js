// The page's script: bars for the tasks that its forms start, the element `<long-task>`, and functions for scripts of
// your own. It draws nothing that the server has not said. longtask.d.ts describes the exports; see "JavaScript" in the
// documents.
//
//   {% from "longtask/bars.html" import bars %}         in a template, in its head
//   {{ bars() }}                                        the style sheet, nanobar and this script, or by hand:
//
//   <link rel="stylesheet" href="…/longtask.css">
//   <script src="…/longtask.js" type="module"></script>
//
//   <form data-longtask action="/count" method="post"><button>Start</button></form>
//   <long-task href="/status/6c0d…"></long-task>
//
//   import { start } from '…/longtask.js';
//   await start('/count', { text: '…' }, { onSuccess: (task) => console.log(task.result) });

import { Follower } from './client/follower.js';
import { Banners } from './drawing/banners.js';
import { LongTaskElement } from './drawing/bar.js';
import { takeOver } from './drawing/page.js';

export { follow, start } from './client/follow.js';
export { Problem } from './client/server.js';
export { localTime } from './drawing/times.js';
export { setStrings } from './strings.js';

// In a module, `document.currentScript` is null.
const options = [...document.scripts].find((script) => script.src === import.meta.url)?.dataset ?? {};
if (options.pollSeconds) Follower.pollSeconds = Number(options.pollSeconds);
Banners.workerCommand = options.workerCommand ?? '';

// After the page's other scripts, so that they can listen to events and replace texts first.
if (document.readyState === 'complete') {
  setTimeout(begin);
} else {
  document.addEventListener('DOMContentLoaded', begin);
  window.addEventListener('load', begin); // whichever comes first: it depends on when the script was loaded
}

function begin() {
  if (customElements.get('long-task')) return;
  customElements.define('long-task', LongTaskElement);
  takeOver({ remember: 'remember' in options });
}
