// The types of longtask.js.

/** The status object of a task: see "HTTP" in the documents for each field. */
export interface Status<Result = unknown> {
  state: 'PENDING' | 'PROGRESS' | 'RETRY' | 'SUCCESS' | 'FAILURE' | 'REVOKED' | (string & {});
  current: number;
  total: number;
  status: string;
  /** Only with SUCCESS; null if it is too large to be sent with every status. */
  result: Result | null;
  /** The size in bytes of a result that is too large. */
  result_bytes?: number;
  task_id: string;
  task: string | null;
  /** 0 to 100, and 100 only with SUCCESS. */
  percent: number;
  /** ISO 8601 in UTC. */
  submitted: string | null;
  started: string | null;
  /** When the task last said anything: reported, logged a line or kept a checkpoint. */
  reported: string | null;
  finished: string | null;
  /** Seconds left, while the task runs. */
  eta: number | null;
  attempt: number | null;
  /** Whether the task has ended and can be started again; absent if not. */
  restartable?: true;
  /** The id of the task that this one repeats. */
  restart_of?: string;
  /** What the task reports besides `current`, `total` and `status`. */
  meta: Record<string, unknown> | null;
  /** The number in its family, from 1. Only in the answer of `/status/<id>/parts`. */
  part?: number | null;
  /** Of a group, a chain, a chord or a task with children: how many parts there are, and in which phases they are. */
  parts: Parts | null;
}

export interface Parts {
  total: number;
  waiting: number;
  running: number;
  succeeded: number;
  failed: number;
  cancelled: number;
}

/** Functions to call for changes of a task. */
export interface Callbacks<Result = unknown> {
  /**
   * Called for each change, and also for the end, before the callbacks below. Of a family that has failed, it is also
   * called afterwards, while other parts go on.
   */
  onProgress?(task: Status<Result>): void;
  onSuccess?(task: Status<Result>): void;
  /** The task raised, or ended in another way that is neither success nor cancellation. */
  onFailure?(task: Status<Result>): void;
  onCancelled?(task: Status<Result>): void;
  /** The server does not know the task (any more). `task` is its last known status. */
  onExpired?(task: Status<Result>): void;
  /** Called after any of the four callbacks above. */
  onEnd?(task: Status<Result>): void;
  /** The server or the network is away. The next attempt is in `seconds`. */
  onOffline?(problem: Problem, seconds: number): void;
  onOnline?(): void;
}

/** One or more tasks that are followed, such as those of a group. */
export interface Following<Result = unknown> {
  /** The address of each task. */
  readonly locations: string[];
  /** The last known status of each task. */
  readonly tasks: Status<Result>[];
  /** Fulfilled with `tasks` when all tasks have ended, in whatever way; never rejected. */
  readonly ended: Promise<Status<Result>[]>;
  /** Stops following: no callback is called any more. The tasks go on. */
  stop(): void;
  /** Cancels the tasks that have not ended. Rejects with a Problem. */
  cancel(): Promise<void>;
}

/** Follows the task at this address, the `Location` of a start, until it ends or `stop()` is called. */
export function follow<Result = unknown>(location: string | URL, callbacks?: Callbacks<Result>): Following<Result>;

export interface StartOptions<Result = unknown> extends Callbacks<Result> {
  /** Headers of the request, such as an `Idempotency-Key`. */
  headers?: Record<string, string>;
}

/**
 * Posts to a start route, as JSON unless `body` is form data, and follows the tasks that it starts. Rejects with a
 * Problem if nothing was started.
 */
export function start<Result = unknown>(
  url: string | URL,
  body?: FormData | URLSearchParams | object,
  options?: StartOptions<Result>,
): Promise<Following<Result>>;

/** An error answer, or no answer at all. The message is a sentence for a person. */
export class Problem extends Error {
  /** The HTTP status of the answer; 0 without an answer. */
  readonly status: number;
  /** The name of the invalid field of the request. */
  readonly field: string | null;
  /** Seconds to wait before another attempt; 0 if the server does not say. */
  readonly retryAfter: number;
  /** The parsed JSON of the answer. */
  readonly body: unknown;
}

/** Formats an ISO time as an element in the reader's time zone; returns any other text unchanged. */
export function localTime(iso: string): HTMLTimeElement | string;

/** Replaces texts of the page. Call it before the first bar is drawn. The names are in strings.js. */
export function setStrings(strings: Strings): void;

export interface Strings {
  /** The language of dates and numbers, such as `de`. */
  locale?: string;
  /** Names of tasks, of states that tasks report themselves, and of the levels of log lines, by the server's word. */
  tasks?: Record<string, string>;
  states?: Record<string, string>;
  levels?: Record<string, string>;
  /** Sentences of the server and of tasks, by the English sentence. */
  sentences?: Record<string, string>;
  [name: string]: string | Record<string, string> | undefined;
}

/** `<long-task href="…">`: the bar of the task at this address. */
export interface LongTaskElement extends HTMLElement {
  /** The last known status of the task; null before the first answer. */
  readonly task: Status | null;
  readonly phase: '' | 'waiting' | 'scheduled' | 'running' | 'retry' | 'done' | 'failed' | 'ended' | 'cancelled' | 'expired';
  /** The form that has started the task; null after a reload. */
  readonly form: HTMLFormElement | null;
  /** Cancels the task. If this fails, the bar says why. */
  cancel(): Promise<void>;
  /** Starts the task again, and puts the bar of the new task on the page. If this fails, the bar says why. */
  restart(): Promise<void>;
  /** Takes the bar off the page. */
  hide(): void;
}

/** Dispatched on a bar, and on the form that has started the task. `detail` is the status object. */
export type LongTaskEvent = CustomEvent<Status>;

declare global {
  interface HTMLElementTagNameMap {
    'long-task': LongTaskElement;
  }

  interface DocumentEventMap extends LongTaskEventMap {}
  interface HTMLElementEventMap extends LongTaskEventMap {}
}

interface LongTaskEventMap {
  'longtask:start': LongTaskEvent;
  'longtask:progress': LongTaskEvent;
  'longtask:success': LongTaskEvent;
  'longtask:failure': LongTaskEvent;
  'longtask:cancelled': LongTaskEvent;
  'longtask:expired': LongTaskEvent;
  'longtask:end': LongTaskEvent;
  'longtask:hide': LongTaskEvent;
  'longtask:restart': LongTaskEvent;
  'longtask:offline': Event;
  'longtask:online': Event;
}
