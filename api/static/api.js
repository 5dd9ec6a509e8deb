/** The API's calls. The key goes into the Authorization header and nowhere else; it lives as long as the tab. */

const KEY = "photomend-key";
/** Longest that is waited in all when the service asks for it, s; what takes longer is for the person to decide. */
const MOST_WAIT_S = 60;
/** Where calls are limited, the page's other calls may take the place that was waited for: so more than once or twice. */
const TRIES = 10;

/** @typedef {{code: string, title: string, detail: string, status: number, retryAfter: number, pointer?: string}} Problem retryAfter: s, 0 = not said */

/** What the API, or the way to it, refused. */
export class ApiError extends Error {
  /** @param {Problem} problem */
  constructor(problem) {
    super(problem.detail);
    this.problem = problem;
  }
}

/** @returns {string} */
export const key = () => sessionStorage.getItem(KEY) ?? "";

/** @param {string} text empty = sign out */
export function setKey(text) {
  if (text) sessionStorage.setItem(KEY, text);
  else sessionStorage.removeItem(KEY);
}

/** @returns {Record<string, string>} */
export const authorization = () => (key() ? { Authorization: `Bearer ${key()}` } : {});

/** @param {number} status @param {string} text @param {string | null} [retryAfter] the header @returns {Problem} */
export function problemOf(status, text, retryAfter = null) {
  const wait = { status, retryAfter: /^\d+$/.test(retryAfter ?? "") ? Number(retryAfter) : 0 };
  try {
    const said = JSON.parse(text);
    if (said && typeof said.code === "string") return { ...said, ...wait };
  } catch {
    // A proxy's own page; its words are not for here.
  }
  return { code: "no_answer", title: "The service did not answer as it should", detail: `It said ${status}. Try again in a few seconds.`, ...wait };
}

/** @returns {ApiError} */
export const unreachable = () => new ApiError({
  code: "unreachable", status: 0, retryAfter: 0, title: "The service does not answer",
  detail: navigator.onLine ? "It may be restarting. Try again in a few seconds." : "You are offline. Connect and try again.",
});

/** @type {(problem: Problem) => void} */
let tellOfWait = () => {};
/** @param {(problem: Problem) => void} listener hears of each wait before it begins */
export const whenWaiting = (listener) => (tellOfWait = listener);

/** @param {Problem} problem @returns {boolean} whether the service asks to come again soon */
const isSoon = ({ status, retryAfter }) => (status === 429 || status === 503) && retryAfter > 0 && retryAfter <= MOST_WAIT_S;

/**
 * Sends, and sends again where the service asks for that.
 * @template T
 * @param {() => Promise<T>} send throws what is refused
 * @param {{tries?: number, signal?: AbortSignal | null}} [how]
 * @returns {Promise<T>}
 */
export async function patiently(send, { tries = TRIES, signal } = {}) {
  for (let left = tries - 1, rest = MOST_WAIT_S; ; left--) {
    try {
      return await send();
    } catch (err) {
      if (!left || !(err instanceof ApiError) || !isSoon(err.problem) || err.problem.retryAfter > rest) throw err;
      rest -= err.problem.retryAfter;
      tellOfWait(err.problem);
      // Not all at the same instant: those who wait came at the same instant.
      await new Promise((wake) => setTimeout(wake, 1000 * (err.problem.retryAfter + 0.5 * Math.random())));
      signal?.throwIfAborted();
    }
  }
}

async function once(path, init) {
  let answer;
  try {
    answer = await fetch(path, { ...init, headers: { ...authorization(), ...init.headers }, credentials: "omit" });
  } catch (err) {
    if (init.signal?.aborted) throw err;
    throw unreachable();
  }
  if (!answer.ok) throw new ApiError(problemOf(answer.status, await answer.text(), answer.headers.get("Retry-After")));
  return answer;
}

/**
 * @param {string} path
 * @param {RequestInit & {headers?: Record<string, string>}} [init]
 * @returns {Promise<Response>} one that says success
 * @throws {ApiError}
 */
export function call(path, init = {}) {
  // Whatever the page sends may arrive twice: submits and redos carry an Idempotency-Key, a decision twice is the same one.
  return patiently(() => once(path, init), { signal: init.signal });
}

/** @param {string} path @param {RequestInit & {headers?: Record<string, string>}} [init] @returns {Promise<any>} */
export const json = async (path, init) => (await call(path, init)).json();

/** @param {string} path @param {unknown} body @param {Record<string, string>} [headers] @returns {Promise<any>} */
export const post = (path, body, headers = {}) =>
  json(path, { method: "POST", body: JSON.stringify(body), headers: { "Content-Type": "application/json", ...headers } });

/** @returns {string} 128 random bits; crypto.randomUUID exists on https and loopback only */
export const newKey = () => [...crypto.getRandomValues(new Uint8Array(16))].map((b) => b.toString(16).padStart(2, "0")).join("");

/** @param {string} id @param {string} part @returns {Promise<{url: string, content_type: string, filename: string}>} */
export const place = (id, part) =>
  json(`/v1/jobs/${id}/result?part=${encodeURIComponent(part)}`, { headers: { Accept: "application/json" } });
