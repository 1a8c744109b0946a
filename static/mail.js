// Shows under the bar of a mail what the mail server has replied to it. The task reports this as its `meta`.

document.addEventListener('longtask:progress', ({ target: bar, detail: task }) => {
  if (!task.meta?.answer || bar.querySelector('.answer')) return;
  const line = document.createElement('p');
  line.className = 'answer';
  line.textContent = `The mail server says: ${task.meta.answer}`;
  bar.append(line);
});
