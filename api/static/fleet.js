/** Whether somebody is there to do the work: asked at the start, and again while photos wait. */

import { json } from "./api.js";
import { anyWaiting, setWorkers } from "./jobs.js";
import { notice, withdraw } from "./notices.js";

/** How long until it is asked again: while there is nobody, and else. */
const SOON_MS = 3000, LATER_MS = 15000;

/** @throws {import("./api.js").ApiError} */
export async function look() {
  const { workers } = await json("/v1/models");
  setWorkers(workers);
  if (workers) withdraw("no_worker");
  else notice("No worker is running.", "Photos can be sent; they wait, and nothing is lost, until a worker starts (photomend worker).", "no_worker", "calm");
  return workers;
}

/** Asks on and on, but only while it matters and somebody looks. */
export async function keepLooking() {
  let workers = 0;
  while (true) {
    await new Promise((wake) => setTimeout(wake, workers ? LATER_MS : SOON_MS));
    if (!document.hidden && anyWaiting()) workers = await look().catch(() => 0);
  }
}
