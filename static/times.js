// Shows the times on a page that the server has rendered in the reader's time zone.
import { localTime } from '../longtask/static/longtask.js';

for (const node of document.querySelectorAll('main time, .masthead time')) node.replaceWith(localTime(node.dateTime));
