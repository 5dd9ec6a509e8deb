/** The jobs that this page knows, kept up to date by their events; whoever shows them is told. */

import { follow } from "./events.js";

const STATUS = { queued: "waiting", processing: "being mended", succeeded: "ready", failed: "failed", canceled: "canceled", expired: "removed" };
const STAGES = { fetch: "Fetching", decode: "Opening", detect: "Looking for faces", align: "Aligning faces", restore: "Mending faces", parse: "Finding outlines", upsample: "Enlarging", blend: "Blending", encode: "Saving", store: "Storing" };

/** @type {Map<string, any>} */
const known = new Map();
/** addresses of pictures that this page sent, so that they need not come back @type {Map<string, string>} */
export const local = new Map();
const followed = new Set();
let stop = new AbortController();
/** how many workers there are; null = not asked yet @type {number | null} */
let workers = null;
/** @type {(job: any, has: "moved" | "ended") => void} */
let tell = () => {};
/** @type {(err: unknown) => void} */
let fail = () => {};

/** @param {typeof tell} onChange @param {typeof fail} onTrouble */
export function listen(onChange, onTrouble) {
  tell = onChange;
  fail = onTrouble;
}

/** @param {any} job @returns {boolean} */
export const isRunning = (job) => job.status === "queued" || job.status === "processing";

/** @returns {boolean} whether any photo waits for a worker */
export const anyWaiting = () => [...known.values()].some((job) => job.status === "queued");

/** @param {any} job @returns {string} */
export const nameOf = (job) => job.metadata?.name || job.input.split("/").pop() || job.id;

/** @param {any} job @returns {string} */
export const statusOf = (job) => job.review?.decision ?? STATUS[job.status];

/** @param {any} job what an API call or an event said */
export function put(job) {
  known.set(job.id, { ...known.get(job.id), ...job });
  if (isRunning(job)) watch(job.id);
  return known.get(job.id);
}

/** Forgets everything, as when somebody else signs in. */
export function forget() {
  stop.abort();
  stop = new AbortController();
  for (const address of local.values()) URL.revokeObjectURL(address);
  for (const kept of [known, local, followed]) kept.clear();
}

/** @param {number} count */
export function setWorkers(count) {
  workers = count;
  for (const job of known.values()) if (job.status === "queued") tell(job, "moved");
}

/** @param {any} job that has not ended @returns {string} what is going on, in a few words */
export function doingOf(job) {
  if (job.isCut) return "The connection broke. Trying again…";
  if (job.cancel_requested) return "Being canceled";
  if (job.progress) return STAGES[job.progress.stage] ?? job.progress.stage;
  if (job.status !== "queued") return "Starting";
  return workers === 0 ? "Waiting: no worker is running" : "Waiting for a worker";
}

function watch(id) {
  if (followed.has(id)) return;
  followed.add(id);
  const { signal } = stop;
  const news = (more) => tell(put({ id, status: known.get(id).status, ...more }), "moved");
  follow(`/v1/jobs/${id}`, { signal, onProgress: (event) => news({ ...event, isCut: false }), onBreak: () => news({ isCut: true }) }).then(
    (ended) => {
      followed.delete(id);
      if (!signal.aborted) tell(put({ ...ended, isCut: false }), "ended");
    },
    (err) => {
      if (signal.aborted) return;
      followed.delete(id);
      fail(err);
    },
  );
}
