// The types of longtask.js. Nothing but declarations is here.

/** What the server tells of a task: see "HTTP" in the documents for each field. */
export interface Status<Result = unknown> {
  state: 'PENDING' | 'PROGRESS' | 'RETRY' | 'SUCCESS' | 'FAILURE' | 'REVOKED' | (string & {});
  current: number;
  total: number;
  status: string;
  /** Only with SUCCESS; null where it is too large to be sent with every status. */
  result: Result | null;
  /** The size of such a result in bytes. */
  result_bytes?: number;
  task_id: string;
  task: string | null;
  /** 0 to 100, and 100 only with SUCCESS. */
  percent: number;
  /** ISO 8601 in UTC. */
  submitted: string | null;
  started: string | null;
  finished: string | null;
  /** Seconds left, while it runs. */
  eta: number | null;
  attempt: number | null;
}

/** What to call for news of a task. */
export interface Callbacks<Result = unknown> {
  /** Something about it is new. Its end is told here first, too. */
  onProgress?(task: Status<Result>): void;
  onSuccess?(task: Status<Result>): void;
  /** It raised, or ended in another way that is no success. */
  onFailure?(task: Status<Result>): void;
  onCancelled?(task: Status<Result>): void;
  /** The server does not know it (any more): this is the last that was seen. */
  onExpired?(task: Status<Result>): void;
  /** After any of the four above. */
  onEnd?(task: Status<Result>): void;
  /** The server or the network is away; the next try is in so many seconds. */
  onOffline?(problem: Problem, seconds: number): void;
  onOnline?(): void;
}

/** A task that is followed, or several: those of a group. */
export interface Following<Result = unknown> {
  /** The address of each. */
  readonly locations: string[];
  /** What was last told of each. */
  readonly tasks: Status<Result>[];
  /** Fulfilled with the same once all have ended, in whatever way; never rejected. */
  readonly ended: Promise<Status<Result>[]>;
  /** Tells nothing more. The tasks go on. */
  stop(): void;
  /** Cancels what has not ended. Rejected with a Problem. */
  cancel(): Promise<void>;
}

/** Follows the task at this address, a `Location` of a start, until it ends or `stop()` is called. */
export function follow<Result = unknown>(location: string | URL, callbacks?: Callbacks<Result>): Following<Result>;

export interface StartOptions<Result = unknown> extends Callbacks<Result> {
  /** Headers of the request, such as an `Idempotency-Key`. */
  headers?: Record<string, string>;
}

/**
 * Posts to a start route, as JSON unless `body` is a form's, and follows what it has started. Rejected with a Problem
 * where nothing was started.
 */
export function start<Result = unknown>(
  url: string | URL,
  body?: FormData | URLSearchParams | object,
  options?: StartOptions<Result>,
): Promise<Following<Result>>;

/** An answer that is an error, or no answer at all. The message is a sentence for a person. */
export class Problem extends Error {
  /** The status of the answer, 0 for none. */
  readonly status: number;
  /** The field of the request that it is about. */
  readonly field: string | null;
  /** Seconds to wait before another try, 0 where the server does not say. */
  readonly retryAfter: number;
  /** The answer's JSON. */
  readonly body: unknown;
}

/** An ISO time as an element in the reader's own zone; any other text as it is. */
export function localTime(iso: string): HTMLTimeElement | string;

/** Replaces texts of the page, before the first bar is drawn. Their names are in strings.js. */
export function setStrings(strings: Strings): void;

export interface Strings {
  /** The language of dates and numbers, such as `de`. */
  locale?: string;
  /** Names of tasks and of states of their own, by the server's word for them. */
  tasks?: Record<string, string>;
  states?: Record<string, string>;
  /** Sentences of the server. */
  sentences?: Record<string, string>;
  [name: string]: string | Record<string, string> | undefined;
}

/** `<long-task href="…">`: the bar of the task at this address. */
export interface LongTaskElement extends HTMLElement {
  /** What was last told of the task; null before the first answer. */
  readonly task: Status | null;
  readonly phase: '' | 'waiting' | 'scheduled' | 'running' | 'retry' | 'done' | 'failed' | 'ended' | 'cancelled' | 'expired';
  /** The form that has started it; null after a reload. */
  readonly form: HTMLFormElement | null;
  /** Cancels the task. What prevents that is said under the bar. */
  cancel(): Promise<void>;
  /** Takes the bar off the page. */
  hide(): void;
}

/** Sent by a bar, which is its target, and to the form that has started the task. `detail` is the status object. */
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
  'longtask:offline': Event;
  'longtask:online': Event;
}
