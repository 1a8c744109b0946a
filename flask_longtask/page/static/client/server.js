// What is asked of the server, and the errors it answers: every address and every request is here. When to ask is
// decided elsewhere, and nothing is drawn here.

export const IDS_PER_REQUEST = 100; // the server takes no more in one request
const ANSWER_WITHIN_MS = 10_000; // a server that takes longer counts as away

/** An answer that is an error, or no answer at all (`status` 0). The message is a sentence for a person. */
export class Problem extends Error {
  constructor(detail, { status = 0, field = null, retryAfter = 0, body = null } = {}) {
    super(detail);
    Object.assign(this, { status, field, retryAfter, body });
  }

  static noAnswer() {
    return new Problem(navigator.onLine ? 'The server does not answer.' : 'This computer is offline.');
  }

  static from(response, body) {
    return new Problem(body?.detail ?? body?.title ?? `The server answers with error ${response.status}.`, {
      status: response.status,
      field: body?.field,
      retryAfter: Number(response.headers.get('Retry-After')) || 0,
      body,
    });
  }
}

/** JSON as data, null for anything else. Integers beyond 2^53 keep every digit where the browser can tell them. */
export function parsed(text) {
  try {
    return JSON.parse(text, keepBigIntegers);
  } catch {
    return null;
  }
}

function keepBigIntegers(_key, value, context) {
  const big = typeof value === 'number' && Number.isInteger(value) && !Number.isSafeInteger(value);
  return big && context?.source && JSON.rawJSON ? JSON.rawJSON(context.source) : value;
}

/** Answers the JSON; throws a Problem. */
export async function request(url, { timeout = ANSWER_WITHIN_MS, headers = {}, ...init } = {}) {
  const signal = timeout ? AbortSignal.timeout(timeout) : null;
  let response;
  let text;
  try {
    response = await fetch(url, { ...init, signal, headers: { Accept: 'application/json', ...headers } });
    text = await response.text();
  } catch {
    throw Problem.noAnswer();
  }
  const body = parsed(text);
  if (!response.ok) throw Problem.from(response, body);
  if (body === null) throw new Problem('Something other than this server answers.');
  return body;
}

export class Server {
  #client;

  /** `client` knows the path the app is mounted at, `base`, and makes the requests, so that a page can change how. */
  constructor(client) {
    this.#client = client;
  }

  addressOf(id) {
    return `${this.#client.base}/status/${id}`;
  }

  /** Where a result is that is too large to be sent with every status. */
  addressOfResult(id) {
    return `${this.#client.base}/result/${id}`;
  }

  start(url, body) {
    const isForm = body instanceof FormData || body instanceof URLSearchParams;
    return this.#client.request(url, {
      method: 'POST',
      body: isForm ? body : JSON.stringify(body),
      headers: isForm ? {} : { 'Content-Type': 'application/json' },
      // An upload may take its time.
      ...(body instanceof FormData && { timeout: null }),
    });
  }

  cancel(id) {
    return this.#client.request(this.addressOf(id), { method: 'DELETE' });
  }

  /** What this browser has started, newest first. */
  async tasks() {
    return (await this.#client.request(`${this.#client.base}/tasks`)).tasks;
  }

  /** Pairs of an id and its status object, or null for a task that does not exist. */
  async *statuses(ids) {
    for (let from = 0; from < ids.length; from += IDS_PER_REQUEST) {
      const { tasks } = await this.#client.request(this.#addressOfAll(ids.slice(from, from + IDS_PER_REQUEST)));
      yield* Object.entries(tasks);
    }
  }

  /** Not healthy is an error status with the same answer; undefined for no answer. */
  health() {
    return this.#client.request(`${this.#client.base}/health`).catch((problem) => problem.body);
  }

  /** The changes of these tasks, at most IDS_PER_REQUEST. */
  openStream(ids) {
    return new EventSource(this.#addressOfAll(ids));
  }

  #addressOfAll(ids) {
    return `${this.#client.base}/status?${new URLSearchParams(ids.map((id) => ['id', id]))}`;
  }
}
