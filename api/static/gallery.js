/** The grid of photos: newest first, to look at and to review in place. */

import { json, place } from "./api.js";
import { by, el } from "./dom.js";
import { doingOf, isRunning, local, nameOf, put, statusOf } from "./jobs.js";
import { complain } from "./notices.js";
import { decide } from "./review.js";
import { isShown } from "./upload.js";

const FILTERS = { all: "All", pending: "To review", accepted: "Accepted", rejected: "Rejected" };
const EMPTY = { all: "No photos yet. The first one that you choose appears here.", pending: "Nothing waits for your decision.", accepted: "You have not accepted any photo yet.", rejected: "You have not rejected any photo." };
const TONES = { accepted: "good", ready: "good", rejected: "bad", failed: "bad", waiting: "busy", "being mended": "busy" };

let filter = "all";
/** @type {string | null} */
let cursor = null;
let turn = 0;

/** @param {any} job @returns {{textContent: string, className: string}} */
export function badge(job) {
  const words = statusOf(job);
  return { textContent: words, className: `badge ${TONES[words] ?? ""}` };
}

/** @param {any} job @returns {HTMLElement} moved on by ``progress`` */
export const bar = (job) => el("div", { "data-progress": job.id, className: "progress" }, el("span", {}, doingOf(job)),
  el("progress", { max: 100, value: job.progress?.percent ?? 0, "aria-label": `Progress of ${nameOf(job)}` }));

/** Moves every bar of a job. @param {any} job */
export function progress(job) {
  for (const holder of document.querySelectorAll(`[data-progress="${job.id}"]`)) {
    holder.querySelector("progress").value = job.progress?.percent ?? 0;
    holder.querySelector("span").textContent = doingOf(job);
  }
}

export function filters() {
  by("filters").replaceChildren(...Object.entries(FILTERS).map(([name, words]) =>
    el("button", { type: "button", id: `filter-${name}`, "aria-pressed": name === filter, onclick: () => {
      choose(name);
      load().catch(complain);
    } }, words)));
}

function choose(name) {
  filter = name;
  for (const one of by("filters").children) one.setAttribute("aria-pressed", String(one.id === `filter-${name}`));
}

/** @param {boolean} [more] the next page, below what is there */
export async function load(more = false) {
  const mine = ++turn, query = new URLSearchParams({ limit: "24" });
  if (filter !== "all") query.set("review", filter);
  if (more && cursor) query.set("cursor", cursor);
  const page = await json(`/v1/jobs?${query}`);
  if (mine !== turn) return;
  cursor = page.next_cursor;
  if (!more) by("jobs").replaceChildren();
  by("jobs").append(...page.jobs.map((job) => tile(put(job))));
  by("more").hidden = !page.next_cursor;
  empty();
}

/** Makes all photos visible: what was just sent is not to be hidden by a filter. */
export async function showAll() {
  if (filter === "all") return;
  choose("all");
  await load();
}

/** @param {HTMLElement} item to stand first */
export function prepend(item) {
  by("jobs").prepend(item);
  empty();
}

/** @param {any} job a new one */
export const add = (job) => (by(`tile-${job.id}`) ? renew(job) : prepend(tile(job)));

/** Draws a job's tile anew, if it is there; the focus stays on what it was on. @param {any} job */
export function renew(job) {
  const old = by(`tile-${job.id}`);
  if (!old) return;
  const made = tile(job), focused = old.contains(document.activeElement) && document.activeElement.dataset.act;
  old.replaceWith(made);
  if (focused) (made.querySelector(`[data-act=${focused}]`) ?? made.querySelector("a")).focus();
}

export function empty() {
  const isEmpty = !by("jobs").childElementCount;
  by("empty").hidden = !isEmpty;
  by("empty").textContent = EMPTY[filter];
  by("gallery").classList.toggle("bare", isEmpty && filter === "all");
}

function tile(job) {
  const pic = el("a", { className: "pic", href: `#job/${job.id}`, "aria-label": `Open ${nameOf(job)}`, "data-act": "open" });
  thumbnail(job, pic);
  return el("li", { className: "tile", id: `tile-${job.id}` }, pic, el("div", { className: "text" },
    el("div", { className: "line" }, el("span", { className: "name", title: nameOf(job) }, nameOf(job)), isRunning(job) ? null : el("span", badge(job))),
    isRunning(job) ? bar(job) : null, job.error ? el("p", { className: "soft" }, `${job.error.title}`) : null,
    job.status === "succeeded" ? acts(job) : null));
}

function acts(job) {
  const act = (decision, words) => el("button", { type: "button", className: words.toLowerCase(), "data-act": decision, "aria-pressed": job.review?.decision === decision, "aria-label": `${words} ${nameOf(job)}`,
    onclick: () => decide(job.id, decision).then((now) => renew(put(now)), complain) }, words);
  return el("div", { className: "acts" }, act("accepted", "Accept"), act("rejected", "Reject"));
}

async function thumbnail(job, into) {
  const none = (words) => into.replaceChildren(el("span", {}, words));
  const part = job.output?.parts.find((one) => one.part === "image" && isShown(one.content_type)) ?? job.output?.parts.find((one) => one.part === "comparison");
  try {
    const url = part ? (await place(job.id, part.part)).url : (local.get(job.id) ?? (job.status === "expired" ? null : (await place(job.id, "input")).url));
    if (!url) return none("Its files have been removed");
    into.replaceChildren(el("img", { src: url, alt: "", loading: "lazy", className: isRunning(job) ? "before" : "", onerror: () => none("Browsers can’t show it") }));
  } catch {
    // The tile still opens the photo; there it is said why.
    none("Its picture is not to be had now");
  }
}
