// The times of a page that the server has drawn, in the reader's own zone.
for (const node of document.querySelectorAll('time')) node.replaceWith(LongTask.localTime(node.dateTime));
