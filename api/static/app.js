/** The page: what is where, and what happens when. */

import { ApiError, json, key, setKey, whenWaiting } from "./api.js";
import { by, el, say } from "./dom.js";
import * as batch from "./batch.js";
import * as batches from "./batches.js";
import * as fleet from "./fleet.js";
import * as gallery from "./gallery.js";
import * as jobs from "./jobs.js";
import { changed, show, shownId } from "./job.js";
import { complain, notice, waiting, whenKeyIsNeeded, withdraw, withdrawAll } from "./notices.js";
import * as options from "./options.js";
import * as queue from "./queue.js";
import { nameField, reviewer } from "./review.js";
import { submit } from "./upload.js";

/** of the options, by name @type {Record<string, any>} */
let schemas = {};
let uploading = 0;

/** What the page shows one of at a time. */
const VIEWS = ["home", "job", "batches", "batch", "queue"];

/** @param {string} [shown] none = something else is there instead */
const only = (shown) => VIEWS.forEach((view) => (by(view).hidden = view !== shown));

/** @param {string} [why] the key that was there did not do */
function signIn(why = "") {
  setKey("");
  jobs.forget();
  withdrawAll();
  batch.leave();
  only();
  for (const id of ["sign-out", "trouble"]) by(id).hidden = true;
  by("jobs").replaceChildren();
  by("sign-in").hidden = false;
  by("sign-in-error").textContent = why;
  by("key").setAttribute("aria-invalid", String(Boolean(why)));
  document.title = "Sign in · photomend";
  by("key").focus();
}

async function start() {
  by("sign-in").hidden = by("trouble").hidden = true;
  try {
    const [document] = await Promise.all([json("/openapi.json"), fleet.look()]);
    schemas = document.components.schemas.JobRequest.properties.options.properties;
    options.build(by("options"), schemas);
    by("sign-out").hidden = !key();
    by("reviewer").replaceChildren(nameField("reviewer-name"));
    gallery.filters();
    await route();
  } catch (err) {
    if (!(err instanceof ApiError)) throw err;
    refused(err);
  }
}

/** Nothing can be shown yet: say why, and what can be done. */
function refused(err) {
  const { status, code, title, detail } = err.problem;
  if (status === 401) return complain(err);
  // A key that may not look is none for this page.
  if (code === "missing_scope") return signIn(`${title}. ${detail}`);
  only();
  by("trouble").hidden = false;
  by("trouble-title").textContent = title;
  by("trouble-words").textContent = detail;
  by("trouble-code").textContent = code;
}

/** @param {File[]} files */
async function take(files) {
  if (!files.length || (by("home").hidden && by("job").hidden)) return;
  const wishes = options.read(by("options"), schemas);
  await gallery.showAll().catch(complain);
  say(`${files.length} ${files.length === 1 ? "photo is" : "photos are"} being uploaded`);
  const queue = files.map((file) => ({ file, ...placeFor(file) }));
  for (const one of [...queue].reverse()) gallery.prepend(one.item);
  uploading++;
  for (const one of queue) await upload(one, wishes, files.length === 1);
  uploading--;
}

function placeFor(file) {
  const sent = el("progress", { max: 1, value: 0, "aria-label": `Upload of ${file.name}` });
  const item = el("li", { className: "tile" }, el("div", { className: "pic" }), el("div", { className: "text" }, el("span", { className: "name" }, file.name), el("div", { className: "progress" }, el("span", {}, "Uploading"), sent)));
  return { item, sent };
}

async function upload({ file, item, sent }, wishes, isOnly) {
  try {
    const job = await submit(file, wishes, (share) => (sent.value = share));
    jobs.local.set(job.id, URL.createObjectURL(file));
    item.remove();
    gallery.add(jobs.put(job));
    if (isOnly) location.hash = `#job/${job.id}`;
  } catch (err) {
    item.remove();
    gallery.empty();
    complain(err, `${file.name}: `);
  }
}

async function route() {
  batch.leave();
  const [, view, batchId] = /^#(batches|batch|review)(?:\/(batch_[0-9a-f]{32}))?$/.exec(location.hash) ?? [];
  if (view) return deliveries(batchId, view === "review");
  const id = shownId(), job = id && (await json(`/v1/jobs/${id}`).catch(notThere));
  only(job ? "job" : "home");
  document.title = "photomend";
  if (job) return show(jobs.put(job));
  by("reviewer-name").value = reviewer();
  return gallery.load();
}

/** The list of batches, one of them, or what is to be looked at of one. */
async function deliveries(id, isReview) {
  const found = id && (await json(`/v1/batches/${id}`).catch(notThere));
  if (!found) {
    only("batches");
    document.title = "Batches · photomend";
    return batches.load();
  }
  only(isReview ? "queue" : "batch");
  return isReview ? queue.show(found) : batch.show(found);
}

/** An address of a photo that is gone, or somebody else's, leads to the photos that are there. */
function notThere(err) {
  if (err.problem?.status !== 404) throw err;
  complain(err);
  history.replaceState(null, "", location.pathname);
}

jobs.listen((job, has) => {
  if (has === "moved") return moved(job);
  say(`${jobs.nameOf(job)}: ${jobs.statusOf(job)}`);
  changed(job);
}, complain);

function moved(job) {
  gallery.progress(job);
  if (shownId() !== job.id) return;
  Object.assign(by("job-status"), gallery.badge(job));
  // Each stage once; every percent would be chatter.
  if (by("live").textContent !== jobs.doingOf(job)) say(jobs.doingOf(job));
}

whenWaiting(waiting);
whenKeyIsNeeded(signIn);

by("files").addEventListener("change", (event) => {
  take([...event.target.files]).catch(complain);
  event.target.value = "";
});
const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
for (const name of ["dragenter", "dragover"]) addEventListener(name, (event) => {
  if (!hasFiles(event)) return;
  event.preventDefault();
  document.body.classList.add("dragging");
});
for (const name of ["dragleave", "drop"]) addEventListener(name, (event) => {
  event.preventDefault();
  if (name === "drop" || !event.relatedTarget) document.body.classList.remove("dragging");
});
addEventListener("drop", (event) => take([...event.dataTransfer.files]).catch(complain));
addEventListener("paste", (event) => take([...event.clipboardData.files]).catch(complain));
addEventListener("hashchange", () => {
  if (!by("sign-in").hidden) return;
  route().then(() => by("main").focus({ preventScroll: true })).then(() => scrollTo(0, 0)).catch(complain);
});
addEventListener("offline", () => notice("You are offline.", "Photos that are being mended go on; the page catches up when you are back.", "offline"));
addEventListener("online", () => withdraw("offline"));
// The browser asks whether to leave: a file that is half sent is lost with the page.
addEventListener("beforeunload", (event) => uploading && event.preventDefault());
by("more").addEventListener("click", () => gallery.load(true).catch(complain));
by("retry").addEventListener("click", start);
by("sign-out").addEventListener("click", () => signIn());
by("sign-in-form").addEventListener("submit", (event) => {
  event.preventDefault();
  setKey(by("key").value.trim());
  by("key").value = "";
  start();
});
start();
fleet.keepLooking();
