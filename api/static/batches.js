/** The list of batches, and the form that starts one. */

import { json, newKey, post } from "./api.js";
import { by, el } from "./dom.js";
import { complain, withdrawAll } from "./notices.js";

const STATUS = { preparing: "counting", running: "at work", paused: "paused", canceling: "being canceled", completing: "writing its report", succeeded: "done", failed: "failed", canceled: "canceled" };
const TONES = { succeeded: "good", failed: "bad", canceled: "bad", paused: "", preparing: "busy", running: "busy", canceling: "busy", completing: "busy" };
/** Of items; in the order of the bar. */
export const KINDS = { succeeded: "restored", skipped: "there already", failed: "failed", canceled: "canceled", in_flight: "being worked on", waiting: "waiting" };
const FORMATS = { ".csv": "csv", ".jsonl": "jsonl", "manifest.json": "inventory" };

/** @type {string | null} */
let cursor = null;

/** @param {any} batch @returns {{textContent: string, className: string}} */
export const badge = (batch) => ({ textContent: STATUS[batch.status], className: `badge ${TONES[batch.status]}` });

/** @param {any} batch @returns {boolean} */
export const hasEnded = (batch) => ["succeeded", "failed", "canceled"].includes(batch.status);

/** @param {any} batch @returns {string} where its pictures come from */
export const sourceOf = (batch) => batch.prefix?.uri ?? batch.manifest.uri;

/** @param {any} batch @returns {string} what it is called: the end of where its pictures come from */
export const nameOf = (batch) => (batch.redo_of ? "Made otherwise: " : "") + (batch.redo_of ? batch.output : sourceOf(batch)).replace(/\/+$/, "").split("/").slice(-2).join("/");

/** @param {number} count @returns {string} */
export const number = (count) => count.toLocaleString("en");

/** @param {any} batch @returns {number} items that have their row */
export const doneOf = ({ items }) => items.succeeded + items.skipped + items.failed + items.canceled;

/** Counts by state as one bar. @param {any} batch @returns {HTMLElement} */
export function bar({ items }) {
  const total = Math.max(1, items.total);
  const told = Object.entries(KINDS).filter(([kind]) => items[kind]).map(([kind, words]) => `${number(items[kind])} ${words}`);
  const parts = Object.keys(KINDS).filter((kind) => items[kind]).map((kind) => {
    const part = el("span", { className: `s-${kind}` });
    part.style.flexGrow = String(items[kind] / total);
    return part;
  });
  return el("div", { className: "shares", role: "img", "aria-label": told.join(", ") || "nothing yet" }, ...parts);
}

/** @param {boolean} [more] the next page, below what is there */
export async function load(more = false) {
  const query = new URLSearchParams({ limit: "25" });
  if (more && cursor) query.set("cursor", cursor);
  const page = await json(`/v1/batches?${query}`);
  cursor = page.next_cursor;
  if (!more) by("batch-list").replaceChildren();
  by("batch-list").append(...page.batches.map(line));
  by("more-batches").hidden = !cursor;
  by("no-batches").hidden = by("batch-list").childElementCount > 0;
}

function line(batch) {
  const { items, review } = batch;
  const told = [`${number(doneOf(batch))} of ${number(items.total)}${items.is_counted ? "" : " so far"}`, items.failed ? `${number(items.failed)} failed` : "", review.pending ? `${number(review.pending)} to look at` : ""];
  return el("li", {}, el("a", { className: "card delivery", href: `#batch/${batch.id}` },
    el("span", { className: "line" }, el("b", {}, nameOf(batch)), el("span", badge(batch))), bar(batch),
    el("span", { className: "line soft" }, el("span", {}, told.filter(Boolean).join(" · ")), el("span", {}, new Date(batch.created_at).toLocaleString([], { dateStyle: "medium", timeStyle: "short" })))));
}

/** @param {string} source @param {string} include patterns, separated by blanks @returns {Record<string, any>} the request's manifest or prefix */
export function sourceWords(source, include) {
  const [, format] = Object.entries(FORMATS).find(([ending]) => source.toLowerCase().endsWith(ending)) ?? [];
  return format ? { manifest: { uri: source, format } } : { prefix: { uri: source, include: include.split(/\s+/).filter(Boolean) } };
}

async function start(form) {
  const say = (name) => form.elements.namedItem(name).value.trim();
  const options = { scale: Number(say("scale")), strength: Number(say("strength")), outputs: ["image", "comparison", "provenance"] };
  const batch = await post("/v1/batches", { ...sourceWords(say("source"), say("include")), output: say("output"), options }, { "Idempotency-Key": form.dataset.key || newKey() });
  withdrawAll();
  form.reset();
  form.dataset.key = newKey();
  location.hash = `#batch/${batch.id}`;
}

by("new-batch").dataset.key = newKey();
by("new-batch").addEventListener("input", (event) => (event.currentTarget.dataset.key = newKey()));
by("new-batch").addEventListener("submit", (event) => {
  event.preventDefault();
  start(event.currentTarget).catch(complain);
});
by("more-batches").addEventListener("click", () => load(true).catch(complain));
