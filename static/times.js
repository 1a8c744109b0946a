// The times of a page that the server has drawn, in the reader's own zone.
import { localTime } from '../longtask/static/longtask.js';

for (const node of document.querySelectorAll('main time, .masthead time')) node.replaceWith(localTime(node.dateTime));
