/** Accept, reject, redo: decisions are written into the job, with who made them. */

import { newKey, post } from "./api.js";
import { el } from "./dom.js";
import { SHOWN } from "./options.js";

const BY = "photomend-by";

/** @returns {string} who decides, as they call themselves; kept as long as the tab */
export const reviewer = () => sessionStorage.getItem(BY) ?? "";

/** @param {string} id of the field @returns {HTMLElement} where they say it */
export const nameField = (id) => el("div", { className: "field inline" }, el("label", { for: id }, "Reviewer"),
  el("input", { id, type: "text", maxLength: 200, autocomplete: "name", placeholder: "Your name", value: reviewer(), oninput: (event) => sessionStorage.setItem(BY, event.target.value.trim()) }));

/** @param {string} id @param {"accepted" | "rejected"} decision @param {string} [note] @returns {Promise<any>} the job */
export const decide = (id, decision, note = "") => post(`/v1/jobs/${id}/review`, { decision, note, by: reviewer() });

/** @param {string} id @param {number} strength @returns {Promise<any>} the new job */
export async function redo(id, strength) {
  await decide(id, "rejected", `redone with strength ${strength}`);
  return again(id, { strength });
}

/** @param {string} id @param {Record<string, any>} [options] other than the job's own @returns {Promise<any>} the new job */
export const again = (id, options = {}) => post(`/v1/jobs/${id}/redo`, { options }, { "Idempotency-Key": newKey() });

/** @param {{decision: string, at: string, by: string, note: string}} review @returns {string} */
export const words = ({ decision, at, by, note }) =>
  `${decision === "accepted" ? "Accepted" : "Rejected"}${by ? ` by ${by}` : ""}, ${new Date(at).toLocaleString([], { dateStyle: "medium", timeStyle: "short" })}${note ? `: ${note}` : ""}`;

/**
 * @param {any} job
 * @param {{decided: (job: any) => void, redone: (job: any) => void, failed: (err: unknown) => void}} on
 * @returns {HTMLElement}
 */
export function panel(job, on) {
  const note = el("input", { id: "note", type: "text", maxLength: 1000, placeholder: "Why, if you like" });
  const buttons = [["accept", "accepted", "Accept"], ["reject", "rejected", "Reject"]].map(([id, decision, title]) =>
    el("button", { type: "button", id, className: id, "aria-pressed": job.review?.decision === decision, onclick: (event) => once(event.currentTarget, () => decide(job.id, decision, note.value).then(on.decided, on.failed)) }, title));
  const [latest, ...older] = [...job.reviews].reverse();
  return el("section", { "aria-labelledby": "review-title" }, el("h2", { id: "review-title" }, "Your decision"),
    latest && el("p", { id: "decision", className: "decision" }, words(latest)),
    older.length ? el("details", {}, el("summary", {}, `Before that (${older.length})`), el("ul", { className: "list soft" }, ...older.map((one) => el("li", {}, words(one))))) : null,
    el("div", { className: "pair" }, ...buttons), nameField("by"),
    el("div", { className: "field inline" }, el("label", { for: "note" }, "Note"), note),
    job.kind === "restore" ? redoForm(job, on) : null);
}

function redoForm(job, on) {
  const strength = el("input", { id: "again", type: "range", min: 0, max: 1, step: 0.05 });
  strength.value = String(job.options.strength ?? 1);
  const told = el("output", { for: "again" }, SHOWN.strength(strength.value));
  strength.addEventListener("input", () => (told.textContent = SHOWN.strength(strength.value)));
  const button = el("button", { id: "redo" }, "Redo");
  return el("form", { className: "redo", onsubmit: (event) => {
    event.preventDefault();
    once(button, () => redo(job.id, Number(strength.value)).then(on.redone, on.failed));
  } }, el("label", { for: "again" }, "Or mend it again, faces at ", told), el("div", { className: "pair" }, strength, button));
}

/** A second click while the first is on its way would be a second job. */
async function once(button, act) {
  if (button.getAttribute("aria-disabled") === "true") return;
  button.setAttribute("aria-disabled", "true");
  await act();
  button.removeAttribute("aria-disabled");
}
