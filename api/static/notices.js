/** What the person must know: what was refused and why, and what is being waited for. */

import { ApiError, key } from "./api.js";
import { by, el, say, sentence } from "./dom.js";

/** @type {(why: string) => void} */
let askForKey = () => {};
/** @param {(why: string) => void} ask */
export const whenKeyIsNeeded = (ask) => (askForKey = ask);

/** @param {number} seconds @returns {string} */
export function inAWhile(seconds) {
  if (seconds < 90) return `in ${seconds} s`;
  if (seconds < 5400) return `in ${Math.ceil(seconds / 60)} minutes`;
  return `after ${new Date(Date.now() + 1000 * seconds).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" })}`;
}

/** @param {unknown} err @param {string} [what] it was about */
export function complain(err, what = "") {
  if (!(err instanceof ApiError)) throw err;
  const { status, title, detail, code, retryAfter } = err.problem;
  if (status === 401) return askForKey(key() ? `${title}. ${detail}` : "");
  notice(`${what}${title}.`, retryAfter ? `${detail} Try again ${inAWhile(retryAfter)}.` : detail, code);
}

/** @param {string} title @param {string} detail @param {string} code names it @param {"bad" | "calm"} [tone] */
export function notice(title, detail, code, tone = "bad") {
  withdraw(code);
  const box = el("div", { className: `notice ${tone}` }, el("p", {}, el("strong", {}, title), " ", ...sentence(detail), " ", tone === "bad" ? el("code", { className: "soft" }, code) : null),
    el("button", { type: "button", className: "close", "aria-label": "Dismiss", onclick: () => box.remove() }, "×"));
  box.dataset.code = code;
  by("notices").append(box);
}

/** @param {string} code of what is no longer so */
export function withdraw(code) {
  for (const box of [...by("notices").children]) if (box.dataset.code === code) box.remove();
}

export const withdrawAll = () => by("notices").replaceChildren();

let waitUntil = 0;

/** Counts down before the eyes only; a screen reader hears it once. @param {import("./api.js").Problem} problem */
export function waiting({ title, retryAfter }) {
  const isShown = waitUntil > Date.now();
  waitUntil = Math.max(waitUntil, Date.now() + 1000 * retryAfter);
  if (isShown) return;
  const left = el("b", {});
  const box = el("p", { className: "notice calm", id: "wait", "aria-hidden": "true" }, el("span", {}, el("strong", {}, `${title}.`), " This page goes on by itself in ", left, "."));
  const count = () => {
    const seconds = Math.ceil((waitUntil - Date.now()) / 1000);
    if (seconds <= 0) return box.remove();
    left.textContent = `${seconds} s`;
    setTimeout(count, 250);
  };
  by("wait")?.remove();
  by("notices").before(box);
  count();
  say(`${title}. This page goes on by itself ${inAWhile(retryAfter)}.`);
}
