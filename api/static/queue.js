/** The review queue of a batch: one flagged result after the other, before and after, and what a person decides. */

import { json, newKey, post } from "./api.js";
import { nameOf, number } from "./batches.js";
import { by, el, say, sentence } from "./dom.js";
import * as faces from "./faces.js";
import { complain } from "./notices.js";
import { SHOWN } from "./options.js";
import { nameField, reviewer, words } from "./review.js";
import { isShown } from "./upload.js";
import { opened, Viewer } from "./viewer.js";

const FILTERS = { pending: "To decide", accepted: "Accepted", rejected: "Rejected", all: "All" };
const EMPTY = { pending: "Nothing waits for a decision.", accepted: "Nothing has been accepted.", rejected: "Nothing has been rejected.", all: "Nothing was flagged, and nothing was decided." };
const FLAGS = { identity: "May look like somebody else", non_frontal: "Turned to the side", tiny: "Very small", colour: "Colour moved" };
const PARTS = { image: "Restored photo", mask: "Mask of what changed", comparison: "Before and after", provenance: "Provenance record", input: "Original" };
const viewer = new Viewer(by("queue-stage"), by("queue-tools"));

/** @type {any} */
let batch = null;
/** @type {any[]} */
let items = [];
let at = 0, turn = 0, filter = "pending";
/** @type {number | null} */
let cursor = null;
let counts = { flagged: 0, pending: 0, accepted: 0, rejected: 0 };

/** @param {any} of the batch */
export async function show(of) {
  if (batch?.id !== of.id) filter = "pending";
  batch = of;
  by("queue-back").href = `#batch/${batch.id}`;
  by("queue-title").textContent = `Review of ${nameOf(batch)}`;
  document.title = `Review · photomend`;
  by("queue-filters").replaceChildren(...Object.entries(FILTERS).map(([name, title]) =>
    el("button", { type: "button", id: `queue-${name}`, "aria-pressed": String(name === filter), onclick: () => {
      filter = name;
      show(batch).catch(complain);
    } }, title)));
  [items, at, cursor] = [[], 0, null];
  await more();
  await open(0);
}

/** The next page; parts without any may come between. */
async function more() {
  do {
    const query = new URLSearchParams({ decision: filter, limit: "20" });
    if (cursor !== null) query.set("cursor", String(cursor));
    const page = await json(`${batch.urls.review}?${query}`);
    items.push(...page.items);
    ({ counts, next_cursor: cursor } = page);
  } while (cursor !== null && !items.length);
}

async function open(index) {
  const mine = ++turn;
  if (index >= items.length && cursor !== null) await more();
  at = Math.max(0, Math.min(index, items.length - 1));
  tell();
  by("queue-empty").hidden = Boolean(items.length);
  by("queue-work").hidden = !items.length;
  if (!items.length) return void (by("queue-empty").textContent = EMPTY[filter]);
  by("queue-panel").replaceChildren(head(items[at]), decision(items[at]));
  by("queue-shown").textContent = "";
  const item = await json(`${batch.urls.items}/${items[at].number}`);
  if (mine !== turn) return;
  items[at] = item;
  const found = await pictures(item);
  if (mine !== turn) return;
  by("queue-stage").hidden = by("queue-tools").hidden = !found.width;
  by("queue-shown").textContent = found.said;
  if (found.width) viewer.show({ ...found, mask: null, name: title(item) });
  panel(item, found);
}

function tell() {
  by("queue-place").textContent = items.length ? `${number(at + 1)} of ${cursor === null ? number(items.length) : `${number(items.length)} or more`}` : "";
  by("queue-counts").textContent = `${number(counts.pending)} of ${number(counts.flagged)} to decide · ${number(counts.accepted)} accepted · ${number(counts.rejected)} rejected`;
}

const title = (item) => item.source.split("/").pop();
const place = (item, part) => json(`${batch.urls.items}/${item.number}/result?part=${encodeURIComponent(part)}`, { headers: { Accept: "application/json" } });

/** What a browser can show of an item, with the size of the world that it is shown in. */
async function pictures(item) {
  const get = async (part) => (part === "input" || item.outputs.some((one) => one.part === part) ? place(item, part).catch(() => null) : null);
  const shown = async (part) => {
    const found = await get(part);
    return found && isShown(found.content_type) ? opened(found.url) : null;
  };
  const [before, after] = await Promise.all([shown("input"), shown("image")]);
  if (before && after) return { before: before.src, after: after.src, comparison: null, width: after.naturalWidth, height: after.naturalHeight, said: "" };
  const comparison = item.size ? await shown("comparison") : null;
  if (comparison) return { before: null, after: null, comparison: comparison.src, ...item.size, said: "Browsers can’t show this file; you see a preview of at most 2048 px." };
  const one = after ?? before;
  return { before: before?.src ?? null, after: after?.src ?? null, comparison: null, width: one?.naturalWidth ?? 0, height: one?.naturalHeight ?? 0,
    said: one ? "Only one of the two pictures can be shown here." : "Browsers don’t open this format. Download the files below; batches with “comparison” among their outputs have a preview." };
}

function panel(item, found) {
  const scale = found.width && item.size ? (viewer.width / item.size.width) * (item.options?.scale ?? 1) : 1;
  const list = item.faces ? [el("section", {}, el("h2", {}, `Faces (${item.faces.length})`), faces.list(item.faces, found.width ? viewer : null, scale))] : [];
  // What was typed while the pictures came stays, and so does the place where more is typed.
  const note = by("queue-note")?.value ?? "", where = document.activeElement?.id;
  by("queue-panel").replaceChildren(head(item), decision(item), redo(item), ...list, downloads(item));
  by("queue-note").value = note;
  if (where && where !== document.activeElement?.id) by(where)?.focus({ preventScroll: true });
}

function head(item) {
  return el("section", {}, el("h2", {}, title(item)), el("p", { className: "soft" }, `Line ${number(item.number)}`),
    el("ul", { className: "list", id: "queue-flags" }, ...item.review.map((flag) => el("li", { className: "flag" }, el("b", {}, FLAGS[flag.code] ?? flag.code), ": ", ...sentence(flag.reason)))));
}

function decision(item) {
  const latest = item.decisions.at(-1);
  const button = (id, said, words) => el("button", { type: "button", id, className: words.toLowerCase(), "aria-pressed": String(latest?.decision === said), onclick: () => decide(said).catch(complain) }, words);
  return el("section", { "aria-label": "Your decision" },
    latest ? el("p", { id: "queue-decision", className: "decision" }, words(latest)) : null,
    el("div", { className: "pair" }, button("queue-accept", "accepted", "Accept"), button("queue-reject", "rejected", "Reject")), nameField("queue-by"),
    el("div", { className: "field inline" }, el("label", { for: "queue-note" }, "Note"), el("input", { id: "queue-note", type: "text", maxLength: 1000, placeholder: "Why, if you like" })));
}

async function decide(said) {
  const item = items[at], index = at;
  const now = await post(`${batch.urls.items}/${item.number}/review`, { decision: said, by: reviewer(), note: by("queue-note")?.value ?? "" });
  const before = item.decisions.at(-1)?.decision;
  if (before !== said) {
    counts[said]++;
    if (before) counts[before]--;
    else if (item.review.length) counts.pending--;
  }
  items[index] = { ...item, ...now };
  say(`${title(item)}: ${said}`);
  if (index !== at) return;
  // On to the next one; at the end the decision is shown.
  if (index + 1 < items.length || cursor !== null) await open(index + 1);
  else {
    by("queue-panel").children[1].replaceWith(decision(items[index]));
    tell();
  }
  by("queue-stage").focus({ preventScroll: true });
}

function redo(item) {
  const strength = el("input", { id: "queue-strength", type: "range", min: 0, max: 1, step: 0.05 });
  strength.value = String(item.options?.strength ?? batch.options.strength ?? 1);
  const told = el("output", { for: "queue-strength" }, SHOWN.strength(strength.value));
  strength.addEventListener("input", () => (told.textContent = SHOWN.strength(strength.value)));
  const key = newKey();
  return el("section", {}, el("form", { className: "redo", onsubmit: (event) => {
    event.preventDefault();
    again(item, { strength: Number(strength.value) }, key).catch(complain);
  } }, el("label", { for: "queue-strength" }, "Or make it once more, faces at ", told), el("div", { className: "pair" }, strength, el("button", { id: "queue-redo" }, "Redo")),
  el("p", { className: "soft", id: "queue-redone" }, "As a new version beside this one, which stays and counts as rejected.")));
}

async function again(item, options, key) {
  const made = await post(`${batch.urls.self}/redo`, { items: [{ number: item.number, options }], by: reviewer() }, { "Idempotency-Key": key });
  by("queue-redone").replaceChildren("It is being made. ", el("a", { href: `#batch/${made.id}` }, "See the new version"));
  const now = await json(`${batch.urls.items}/${item.number}`);
  items[items.indexOf(item)] = now;
  by("queue-panel").children[1].replaceWith(decision(now));
  ({ review: counts } = await json(batch.urls.self));
  tell();
}

function downloads(item) {
  return el("section", {}, el("h2", {}, "Files"), el("ul", { className: "list" }, ...["input", ...item.outputs.map((one) => one.part)].map((part) => el("li", {},
    el("a", { href: `#review/${batch.id}`, className: "download", "data-part": part, onclick: (event) => {
      event.preventDefault();
      place(item, part).then((found) => el("a", { href: found.url, download: found.filename, rel: "noreferrer" }).click(), complain);
    } }, el("span", {}, PARTS[part] ?? part))))));
}

/** By the keyboard, where the focus is in the queue and not in a field. @param {KeyboardEvent} event */
function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || /^(input|textarea|select)$/i.test(event.target.tagName)) return;
  const act = { n: () => open(at + 1), p: () => open(at - 1), a: () => decide("accepted"), r: () => decide("rejected") }[event.key];
  if (!act || !items.length) return;
  event.preventDefault();
  act().catch(complain);
}

by("queue").addEventListener("keydown", onKey);
by("queue-next").addEventListener("click", () => open(at + 1).catch(complain));
by("queue-previous").addEventListener("click", () => open(at - 1).catch(complain));
