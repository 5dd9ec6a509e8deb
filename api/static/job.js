/** One photo: how far it is, or before and after with all there is to know and to do about it. */

import { json, place } from "./api.js";
import { by, el, say, sentence } from "./dom.js";
import * as faces from "./faces.js";
import { add, badge, bar, renew } from "./gallery.js";
import { isRunning, local, nameOf, put } from "./jobs.js";
import { complain } from "./notices.js";
import * as options from "./options.js";
import * as review from "./review.js";
import { isShown } from "./upload.js";
import { opened, Viewer } from "./viewer.js";

const PARTS = { image: "Restored photo", mask: "Mask of what changed", comparison: "Before and after", provenance: "Provenance record" };
const viewer = new Viewer(by("stage"), by("tools"));
let turn = 0;

/** @returns {string | undefined} the photo that the address names */
export const shownId = () => /^#job\/(job_[0-9a-f]{32})$/.exec(location.hash)?.[1];

/** @param {any} job */
export async function show(job) {
  const mine = ++turn, name = nameOf(job);
  by("job-title").textContent = name;
  document.title = `${name} · photomend`;
  Object.assign(by("job-status"), badge(job));
  by("result").hidden = by("stage").hidden = by("tools").hidden = by("hint").hidden = true;
  by("waiting").hidden = job.status === "succeeded";
  by("panel").replaceChildren();
  by("shown").textContent = "";
  if (job.status !== "succeeded") return unfinished(job, mine);
  const found = await pictures(job);
  if (mine !== turn) return;
  by("result").hidden = false;
  by("shown").textContent = found.words;
  const canShow = Boolean(found.after || found.before || found.comparison);
  if (canShow) viewer.show({ ...found, width: job.output.width, height: job.output.height, name });
  by("hint").hidden = !canShow;
  const scale = canShow ? (viewer.width / job.output.width) * (job.options.scale ?? 1) : 1;
  by("panel").replaceChildren(decision(job), ...about(job, canShow ? viewer : null, scale));
  if (canShow && job.kind === "detect") viewer.showFaces();
}

function decision(job) {
  return review.panel(job, {
    failed: complain,
    decided: (now) => {
      say(`Decision kept: ${now.review.decision}`);
      renew(put(now));
      refresh(now);
    },
    redone: (again) => open(again, job),
  });
}

/** Goes to a new job on the same picture. */
function open(again, before) {
  if (local.has(before.id)) local.set(again.id, local.get(before.id));
  add(put(again));
  location.hash = `#job/${again.id}`;
}

/** After a decision: the words change, the picture and its zoom stay. */
function refresh(job) {
  Object.assign(by("job-status"), badge(job));
  const focused = document.activeElement?.id;
  by("panel").firstElementChild.replaceWith(decision(job));
  if (focused) by(focused)?.focus();
}

function about(job, shown, scale) {
  const section = (title, ...inside) => el("section", {}, el("h2", {}, title), ...inside);
  const made = [job.model?.name ?? "no model", job.kind === "restore" ? `faces at ${options.SHOWN.strength(job.options.strength)}` : null, `${job.output.width} × ${job.output.height} px`];
  return [
    section(`Faces (${job.faces.length})`, faces.list(job.faces, shown, scale)),
    section("Downloads", el("ul", { className: "list", id: "downloads" }, ...job.output.parts.map((part) => el("li", {}, download(job, part))))),
    job.warnings.length ? section("Good to know", el("ul", { className: "soft" }, ...job.warnings.map((one) => el("li", {}, ...sentence(one.detail))))) : "",
    section("How it was made", el("p", { className: "soft" }, made.filter(Boolean).join(", ")), job.replay_of ? el("a", { href: `#job/${job.replay_of}` }, "The attempt before") : null),
  ];
}

function unfinished(job, mine) {
  if (isRunning(job)) return working(job, mine);
  const words = { canceled: ["Canceled", "It was stopped before it was done. The original is as it was."], expired: ["Its files have been removed", "They are kept for a while only. Send the photo again if you need it."] }[job.status] ?? [job.error.title, job.error.detail === job.error.title ? "" : job.error.detail];
  const button = el("button", { type: "button", id: "try-again", onclick: () => review.again(job.id).then((again) => open(again, job), complain) }, "Try again");
  by("waiting").replaceChildren(el("div", { className: "outcome" },
    el("h2", job.error ? { className: "error" } : {}, words[0]), words[1] ? el("p", {}, ...sentence(words[1])) : null, job.error ? el("p", {}, el("code", { className: "soft" }, job.error.code)) : null,
    el("div", { className: "pair" }, job.status === "expired" ? null : button, el("a", { className: "button", href: "#" }, "Choose another photo"))));
}

function working(job, mine) {
  const stop = el("button", { type: "button", onclick: () => json(`/v1/jobs/${job.id}/cancel`, { method: "POST" }).then((now) => changed(put(now)), complain) }, "Cancel");
  const picture = el("div", { className: "preview" });
  by("waiting").replaceChildren(picture, el("div", { className: "outcome" }, bar(job), el("p", { className: "soft" }, "You may close this page. The photo goes on, and this address shows it again."), el("div", { className: "pair" }, stop)));
  preview(job).then((url) => {
    if (url && mine === turn) picture.append(el("img", { src: url, alt: `${nameOf(job)}, before`, onerror: () => picture.replaceChildren() }));
  });
}

const preview = async (job) => local.get(job.id) ?? (await place(job.id, "input").then((found) => found.url, () => null));

/** A job has ended or was changed by a decision elsewhere. @param {any} job */
export function changed(job) {
  renew(job);
  if (shownId() === job.id) show(job).catch(complain);
}

/** Which pictures of a job a browser can show, and what to say where it can't. */
async function pictures(job) {
  const part = (name) => job.output.parts.find((one) => one.part === name);
  const url = async (name) => (part(name) || name === "input" ? place(job.id, name).then((found) => found.url, () => null) : null);
  const opens = async (address) => (await opened(address))?.src ?? null;
  const image = part("image");
  if (!image && job.kind === "detect") return { before: await opens((await preview(job)) ?? ""), after: null, mask: null, comparison: null, words: "Faces were looked for; nothing was changed." };
  const [mask, after] = await Promise.all([url("mask"), image && isShown(image.content_type) ? url("image").then(opens) : null]);
  const before = (await opens(local.get(job.id))) ?? (await opens(await url("input")));
  if (after && before) return { before, after, mask, comparison: null, words: "" };
  const comparison = await opens(await url("comparison"));
  if (comparison) return { before: null, after: null, mask, comparison, words: "Browsers can’t show this file; you see a preview of at most 2048 px. The download has every pixel and its full depth." };
  const missing = after ? "The original can’t be shown here any more: it was removed, or browsers don’t open its format." : before ? "The result can’t be shown: browsers don’t open its format, or the storage does not answer. Download it below." : "The pictures can’t be shown: browsers don’t open their format, or the storage does not answer. Download them below.";
  return { before, after, mask, comparison: null, words: missing };
}

function download(job, part) {
  const size = part.size < 1e6 ? `${Math.ceil(part.size / 1e3)} kB` : `${(part.size / 1e6).toFixed(1)} MB`;
  const crop = /^faces\/(\d+)(-before)?$/.exec(part.part);
  const title = PARTS[part.part] ?? (crop ? `Face ${Number(crop[1]) + 1}${crop[2] ? ", before" : ""}` : part.part);
  // The address is made when it is asked for: it works for minutes only.
  return el("a", { href: `#job/${job.id}`, className: "download", "data-part": part.part, onclick: async (event) => {
    event.preventDefault();
    try {
      el("a", { href: (await place(job.id, part.part)).url, download: part.filename, rel: "noreferrer" }).click();
    } catch (err) {
      complain(err);
    }
  } }, el("span", {}, title), el("span", { className: "soft" }, `${part.content_type.split("/").pop().toUpperCase()}, ${size}`));
}
