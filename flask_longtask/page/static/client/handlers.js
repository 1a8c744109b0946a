// What a page may replace or override to follow its tasks. They draw nothing: the bars have been drawn already.

export class Handlers {
  /** A task was started from this page. */
  onStarted(task, bar) {}
  /** A task started earlier is back after a reload. */
  onRestored(task, bar) {}
  /** Something about a task that has not ended is new. */
  onProgress(task, bar) {}
  onRetry(task, bar) {}
  onSuccess(task, bar) {}
  /** It raised, or ended in another way that is no success. */
  onFailure(task, bar) {}
  onCancelled(task, bar) {}
  /** The server has forgotten the task. */
  onExpired(task, bar) {}
  /** After any of the four above: it has ended, in whatever way. */
  onEnded(task, bar) {}
  /** A start was refused or not answered; the form already says so. */
  onStartFailed(problem, form) {}
  /** The server or the network is away; the next try is in so many seconds. */
  onOffline(problem, pauseSeconds) {}
  onOnline() {}
}

/** The handler for news of a task, by the phase its bar is in now. */
export const HANDLER_OF_PHASE = {
  waiting: 'onProgress', scheduled: 'onProgress', running: 'onProgress', retry: 'onRetry',
  done: 'onSuccess', failed: 'onFailure', ended: 'onFailure', cancelled: 'onCancelled', expired: 'onExpired',
};

/** Calls a handler, then sends the event `longtask` from its bar. */
export function notify(client, handler, ...subject) {
  try {
    client[handler](...subject);
  } catch (error) {
    reportError(error); // the page's own fault: the bars go on
  }
  const [task, bar] = subject;
  if (!client.bars.has(task?.task_id)) return;
  bar.element.dispatchEvent(new CustomEvent('longtask', { bubbles: true, detail: { task, bar } }));
}
