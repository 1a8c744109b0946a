// The script of plain.html, which starts a task without a form.
import { start } from '../longtask/static/longtask.js';

const output = document.querySelector('output');

document.querySelector('button').addEventListener('click', async () => {
  try {
    const { locations, ended } = await start('../longtask', { steps: 10, delay: 0.5 }, {
      onProgress: ({ percent }) => { output.textContent = `${percent}%`; },
    });
    const bar = document.createElement('long-task');
    bar.setAttribute('href', locations[0]);
    document.getElementById('bars').prepend(bar);
    const [task] = await ended;
    output.textContent = task.state === 'SUCCESS' ? `The answer is ${task.result}.` : task.status;
  } catch (problem) {
    output.textContent = problem.message;
  }
});
