// A small user of longtask.js, for the compiler alone: what compiles here is what the types promise.
import { follow, localTime, Problem, setStrings, start, type Following, type Status } from '../../flask_longtask/page/static/longtask.js';

setStrings({ locale: 'de', cancel: 'Abbrechen', tasks: { count: 'Wörter zählen' } });

async function count(words: string): Promise<number> {
  const following: Following<number> = await start<number>('/count', { words }, {
    headers: { 'Idempotency-Key': '4711' },
    onProgress: ({ percent, status }) => console.log(`${percent}%`, status),
    onSuccess: (task: Status<number>) => console.log(task.result),
    onOffline: (problem: Problem, seconds: number) => console.log(problem.message, problem.status, seconds),
  });
  const [task] = await following.ended;
  return task?.result ?? 0;
}

const following = follow(new URL('/status/4711', location.href), { onEnd: ({ state }) => console.log(state) });
following.cancel().catch((problem: Problem) => console.log(problem.field));
following.stop();
// @ts-expect-error: nothing of the kind is told
follow('/status/4711', { onSucess() {} });
// @ts-expect-error: a result is not a number unless one says so
const result: number = following.tasks[0].result;

const bar = document.createElement('long-task');
bar.setAttribute('href', '/status/4711');
document.body.append(bar, localTime('2026-01-01T00:00:00Z'));
bar.addEventListener('longtask:success', ({ detail }) => console.log(detail.task_id, bar.phase, bar.form));
document.addEventListener('longtask:end', ({ target, detail }) => console.log(target, detail.finished));
document.addEventListener('longtask:offline', () => console.log('away'));

count('one two').then(console.log);
