// All addresses of a server, all requests to it and its errors. Other modules decide when to ask, and nothing is drawn
// here.

import { text } from '../strings.js';

export const IDS_PER_REQUEST = 100; // the server takes no more in one request
const ANSWER_WITHIN_MS = 10_000; // a server that takes longer counts as away

/** The base of the routes of the server that this file comes from, where it is …/longtask/static/client/server.js. */
export const HERE = new URL('../../../', import.meta.url).href;

/** An error answer, or no answer at all (`status` 0). The message is a sentence for a person. */
export class Problem extends Error {
  name = 'Problem';

  constructor(detail, { status = 0, field = null, retryAfter = 0, body = null } = {}) {
    super(detail);
    Object.assign(this, { status, field, retryAfter, body });
  }

  static noAnswer() {
    return new Problem(text(navigator.onLine ? 'away' : 'offline'));
  }

  static from(response, body) {
    return new Problem(body?.detail ?? body?.title ?? text('error', { status: response.status }), {
      status: response.status,
      field: body?.field,
      retryAfter: Number(response.headers.get('Retry-After')) || 0,
      body,
    });
  }
}

/** Parses JSON; returns null for anything else. Integers beyond 2^53 keep all digits if the browser supports it. */
export function parsed(json) {
  try {
    return JSON.parse(json, keepBigIntegers);
  } catch {
    return null;
  }
}

function keepBigIntegers(_key, value, context) {
  const big = typeof value === 'number' && Number.isInteger(value) && !Number.isSafeInteger(value);
  return big && context?.source && JSON.rawJSON ? JSON.rawJSON(context.source) : value;
}

// As on the server: an id that is not safe in a path is written as `~` and its UTF-8 in base64url.
const PLAIN_ID = /^(?!\.{1,2}$)[A-Za-z0-9._-]+$/;

function encoded(id) {
  if (PLAIN_ID.test(id)) return id;
  const bytes = String.fromCharCode(...new TextEncoder().encode(id));
  return `~${btoa(bytes).replaceAll('+', '-').replaceAll('/', '_').replace(/=+$/, '')}`;
}

function decoded(part) {
  if (!part.startsWith('~')) return part;
  const bytes = atob(part.slice(1).replaceAll('-', '+').replaceAll('_', '/'));
  return new TextDecoder().decode(Uint8Array.from(bytes, (byte) => byte.charCodeAt(0)));
}

/** Returns the base of a server's routes, and the ids of the tasks, from the address of one task or of several. */
export function addressed(location) {
  const url = new URL(location, document.baseURI);
  const path = url.origin + url.pathname;
  const ids = url.searchParams.getAll('id');
  if (ids.length && path.endsWith('/status')) return { base: path.slice(0, -'status'.length), ids };
  const base = path.startsWith(`${HERE}status/`) ? HERE : path.slice(0, path.lastIndexOf('/status/') + 1);
  const id = path.slice(base.length + 'status/'.length);
  if (!base || !id) throw new TypeError(`${url} is not the address of a task.`);
  return { base, ids: [decoded(decodeURIComponent(id))] };
}

export function addressOf(base, id) {
  return `${base}status/${encoded(id)}`;
}

/** The address of a task's result, of any size. */
export function addressOfResult(base, id) {
  return `${base}result/${encoded(id)}`;
}

function addressOfAll(base, ids) {
  return `${base}status?${new URLSearchParams(ids.map((id) => ['id', id]))}`;
}

async function request(url, { timeout = ANSWER_WITHIN_MS, headers = {}, ...init } = {}) {
  const signal = timeout ? AbortSignal.timeout(timeout) : null;
  let response;
  let answer;
  try {
    response = await fetch(url, { ...init, signal, headers: { Accept: 'application/json', ...headers } });
    answer = await response.text();
  } catch {
    throw Problem.noAnswer();
  }
  const body = parsed(answer);
  if (!response.ok) throw Problem.from(response, body);
  return { response, body };
}

/** Asks for a JSON document. Throws a Problem. */
export async function json(url, init) {
  const { body } = await request(url, init);
  if (body === null) throw new Problem(text('not_ours'));
  return body;
}

/** Posts to a start route. Returns the base of its server's routes, and each id with a status object or undefined. */
export async function post(url, body, headers) {
  const isForm = body instanceof FormData || body instanceof URLSearchParams;
  const { response, body: answer } = await request(url, {
    method: 'POST',
    body: isForm ? body : JSON.stringify(body),
    headers: isForm ? headers : { 'Content-Type': 'application/json', ...headers },
    // An upload may take long.
    ...(body instanceof FormData && { timeout: null }),
  });
  const known = answer?.tasks ?? (answer?.task_id ? { [answer.task_id]: answer } : {});
  const { base, ids: named } = locationOf(response) ?? { base: HERE, ids: [] };
  const ids = [...new Set([...named, ...Object.keys(known)])]; // the address of a large group has only some of the ids
  if (ids.length === 0) throw new Problem(text('no_task'), { status: response.status, body: answer });
  return { base, tasks: new Map(ids.map((id) => [id, known[id]])) };
}

/** Reads the `Location` of an answer. Returns null if there is none, or if it is not the address of a task. */
function locationOf(response) {
  const location = response.headers.get('Location');
  if (location === null) return null;
  try {
    const { base, ids } = addressed(new URL(location, response.url));
    // Behind a proxy an app may not know its own host.
    return { base: new URL(base).origin === new URL(response.url).origin ? base : HERE, ids };
  } catch {
    return null;
  }
}

export class Server {
  /** `base` is the address with which all routes begin; it ends with a slash. */
  constructor(base) {
    this.base = base;
  }

  cancel(id) {
    return json(addressOf(this.base, id), { method: 'DELETE' });
  }

  /** Starts an ended task again. Returns the status object of the new task. */
  async restart(id) {
    const { tasks } = await post(`${addressOf(this.base, id)}/restart`, {});
    return [...tasks.values()][0];
  }

  /** The tasks that this browser has started, newest first. */
  async tasks() {
    return (await json(`${this.base}tasks`)).tasks;
  }

  /** Yields pairs of an id and its status object, which is null for a task that does not exist. */
  async *statuses(ids) {
    for (let from = 0; from < ids.length; from += IDS_PER_REQUEST) {
      const { tasks } = await json(addressOfAll(this.base, ids.slice(from, from + IDS_PER_REQUEST)));
      yield* Object.entries(tasks);
    }
  }

  /** A page of the parts of a family, after `cursor` unless it is null: `{ parts, next }`. */
  parts(id, cursor) {
    return json(`${addressOf(this.base, id)}/parts${cursor === null ? '' : `?${new URLSearchParams({ cursor })}`}`);
  }

  /** The health document; an unhealthy server sends it with an error status. Null without an answer. */
  health() {
    return json(`${this.base}health`).catch((problem) => problem.body);
  }

  /** Opens a stream of the changes of these tasks, at most IDS_PER_REQUEST. */
  openStream(ids) {
    return new EventSource(addressOfAll(this.base, ids));
  }
}
