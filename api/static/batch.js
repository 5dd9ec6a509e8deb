/** One batch: how far it is, what can be done about it, its report. */

import { json } from "./api.js";
import { badge, bar, doneOf, hasEnded, KINDS, nameOf, number, sourceOf } from "./batches.js";
import { by, el, say, sentence } from "./dom.js";
import { follow } from "./events.js";
import { complain } from "./notices.js";
import { SHOWN } from "./options.js";

const REPORT = { html: ["Report to read", "HTML"], csv: ["Every line", "CSV"], jsonl: ["Every line, for programs", "JSON Lines"], checksums: ["Checksums of what was delivered", "sha256sum"], premis: ["Preservation record", "PREMIS"], manifest: ["What it was made with", "JSON"] };
const WAITS = { workers: "It waits for a worker: none has said yet which weights it has." };
const MOST_FAILED = 20;

let stop = new AbortController();

/** @param {number} seconds @returns {string} */
export function lasting(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return `${Math.floor(seconds / 3600)} h ${Math.round((seconds % 3600) / 60)} min`;
}

/** Follows no batch any more. */
export const leave = () => stop.abort();

/** @param {any} batch */
export function show(batch) {
  leave();
  stop = new AbortController();
  const { signal } = stop;
  draw(batch);
  if (hasEnded(batch)) return;
  follow(batch.urls.self, { signal, onProgress: draw, onBreak: () => say("The connection broke. Trying again…") }).then(
    (ended) => {
      if (signal.aborted) return;
      draw(ended);
      say(`${nameOf(ended)}: ${badge(ended).textContent}`);
    },
    (err) => signal.aborted || complain(err),
  );
}

function draw(batch) {
  by("batch-title").textContent = nameOf(batch);
  document.title = `${nameOf(batch)} · photomend`;
  Object.assign(by("batch-status"), badge(batch));
  const focused = document.activeElement?.id;
  by("batch-now").replaceChildren(bar(batch), legend(batch), facts(batch), ...troubles(batch), acts(batch));
  by("batch-review").replaceChildren(...review(batch));
  by("batch-review").hidden = !by("batch-review").childElementCount;
  // What is read or open there is left alone while the figures above move on.
  if (by("batch-more").dataset.of !== `${batch.id} ${batch.status}`) {
    by("batch-more").dataset.of = `${batch.id} ${batch.status}`;
    by("batch-more").replaceChildren(...[report(batch), failures(batch), about(batch)].filter(Boolean));
  }
  if (focused && !document.activeElement?.id) by(focused)?.focus();
}

function legend({ items }) {
  return el("dl", { className: "legend" }, ...Object.entries(KINDS).flatMap(([kind, words]) => (items[kind] || kind === "succeeded"
    ? [el("div", {}, el("dt", { className: `s-${kind}` }, words), el("dd", {}, number(items[kind])))] : [])));
}

function facts(batch) {
  const { items } = batch, done = doneOf(batch), ended = hasEnded(batch);
  const told = [
    items.total ? `${number(done)} of ${number(items.total)}${items.is_counted ? "" : " so far"}` : "Counting",
    !ended && batch.items_per_s ? `${batch.items_per_s < 10 ? batch.items_per_s.toFixed(1) : number(Math.round(batch.items_per_s))} a second` : "",
    batch.eta_s !== null && !ended ? `${lasting(batch.eta_s)} left` : "",
    batch.gpu_s ? `${lasting(batch.gpu_s)} of device time` : "",
    batch.megapixels ? `${number(Math.round(batch.megapixels))} megapixels` : "",
  ];
  return el("p", { className: "facts" }, ...told.filter(Boolean).map((one) => el("span", {}, one)));
}

function troubles(batch) {
  return [batch.waits_for ? el("p", { className: "notice calm" }, WAITS[batch.waits_for] ?? `It waits for ${batch.waits_for}.`) : null,
    batch.error ? el("p", { className: "notice" }, el("span", {}, el("strong", {}, batch.error.title), " ", ...sentence(batch.error.detail), " ", el("code", { className: "soft" }, batch.error.code))) : null].filter(Boolean);
}

function acts(batch) {
  const act = (change, words) => el("button", { type: "button", id: `batch-${change}`, onclick: (event) => {
    event.currentTarget.setAttribute("aria-disabled", "true");
    json(`${batch.urls.self}/${change}`, { method: "POST" }).then(show, (err) => {
      event.target.removeAttribute("aria-disabled");
      complain(err);
    });
  } }, words);
  const { status, items } = batch, again = items.failed + items.canceled;
  return el("div", { className: "pair acts-row" },
    status === "running" ? act("pause", "Pause") : null, status === "paused" ? act("resume", "Go on") : null,
    ["preparing", "running", "paused"].includes(status) ? act("cancel", "Cancel") : null,
    hasEnded(batch) && items.is_counted && again ? act("retry-failed", `Try ${number(again)} again`) : null);
}

function review({ id, review: counts }) {
  if (!counts.flagged && !counts.accepted && !counts.rejected) return [];
  const told = [`${number(counts.flagged)} to look at`, `${number(counts.pending)} not decided`, `${number(counts.accepted)} accepted`, `${number(counts.rejected)} rejected`];
  return [el("h2", {}, "Review"), el("p", {}, told.join(" · ")), el("a", { className: "button", href: `#review/${id}`, id: "open-review" }, counts.pending ? "Look at them" : "See decisions")];
}

function report(batch) {
  if (!batch.urls.report) return null;
  const fetched = (file) => el("a", { href: `#batch/${batch.id}`, className: "download", "data-file": file, onclick: (event) => {
    event.preventDefault();
    json(`${batch.urls.report}?file=${file}`, { headers: { Accept: "application/json" } }).then((place) => el("a", { href: place.url, download: place.filename, rel: "noreferrer" }).click(), complain);
  } }, el("span", {}, REPORT[file][0]), el("span", { className: "soft" }, REPORT[file][1]));
  return el("section", { className: "card part" }, el("h2", {}, "Report"), el("ul", { className: "list", id: "report-files" }, ...Object.keys(REPORT).map((file) => el("li", {}, fetched(file)))),
    el("p", { className: "soft" }, "It also lies beside the results. Decisions that are made later come into it within a minute."));
}

function failures(batch) {
  if (!batch.items.failed) return null;
  const body = el("tbody", {});
  json(`${batch.urls.items}?status=failed&limit=${MOST_FAILED}`).then(({ items }) => body.append(...items.map((row) => el("tr", {}, el("td", {}, String(row.number)), el("td", {}, row.source.split("/").pop()), el("td", {}, ...sentence(row.error ?? ""), " ", el("code", { className: "soft" }, row.error_code))))), complain);
  return el("section", { className: "card part" }, el("h2", {}, "What failed"), el("div", { className: "wide", role: "region", tabIndex: 0, "aria-label": "What failed" },
    el("table", {}, el("thead", {}, el("tr", {}, ...["Line", "Source", "Why"].map((name) => el("th", { scope: "col" }, name)))), body)),
  batch.items.failed > MOST_FAILED ? el("p", { className: "soft" }, `The first ${MOST_FAILED} of ${number(batch.items.failed)}; the report has them all.`) : null);
}

function about(batch) {
  const made = [batch.pins?.model, batch.options.strength !== undefined ? `faces at ${SHOWN.strength(batch.options.strength)}` : "", batch.options.scale ? SHOWN.scale(batch.options.scale) : "", batch.pins?.precision];
  const rows = [["From", sourceOf(batch)], ["To", batch.output], ["Names", batch.naming], ["Made with", made.filter(Boolean).join(", ")], ["Begun", new Date(batch.created_at).toLocaleString()], ["Id", batch.id]];
  return el("section", { className: "card part" }, el("h2", {}, "About"), el("dl", { className: "about" }, ...rows.flatMap(([name, words]) => [el("dt", {}, name), el("dd", {}, words)])),
    batch.redo_of ? el("a", { href: `#batch/${batch.redo_of}` }, "The batch before") : null);
}
