/** The faces that were found: a list, and the same as boxes over the picture. */

import { el } from "./dom.js";

const STATUS = { restored: "restored", found: "found", skipped: "left as it was", rejected: "no face", failed: "could not be restored" };

/** @param {any} face @returns {string} */
export const title = (face) => `Face ${face.index + 1}: ${STATUS[face.status] ?? face.status}`;

/** @param {any} face @returns {string} */
export function details(face) {
  const likeness = face.identity === null ? "" : ` · likeness ${face.identity.toFixed(2)}`;
  return `Score ${face.score.toFixed(2)} · ${Math.round(face.size_px)} px${likeness} · ${face.id}`;
}

/**
 * @param {any[]} faces
 * @param {import("./viewer.js").Viewer | null} viewer
 * @param {number} scale from the input's px to the viewer's
 * @returns {HTMLElement} the list; its buttons and the boxes say the same
 */
export function list(faces, viewer, scale) {
  const pairs = [];
  const choose = (chosen) => {
    for (const pair of pairs) for (const one of [pair.button, pair.box]) one?.setAttribute("aria-pressed", String(pair === chosen));
    if (!viewer) return;
    viewer.showFaces();
    viewer.share = viewer.share && 50;
    viewer.lookAt(chosen.place);
  };
  const rows = faces.map((face) => {
    const place = face.box.map((edge) => edge * scale), pair = { place };
    const words = face.reason ? [el("span", { className: "soft" }, face.reason)] : [];
    const flags = face.review.map((flag) => el("span", { className: "flag" }, `Please look: ${flag.reason}`));
    pair.button = el("button", { type: "button", className: "face", "aria-pressed": "false", onclick: () => choose(pair) },
      el("b", {}, title(face)), el("span", { className: "soft" }, details(face)), ...words, ...flags);
    if (viewer) {
      pair.box = el("button", { type: "button", tabIndex: -1, "aria-hidden": "true", className: ["restored", "found"].includes(face.status) ? "box" : "box no", onclick: () => choose(pair) }, el("span", {}, String(face.index + 1)));
      Object.assign(pair.box.style, { left: `${place[0]}px`, top: `${place[1]}px`, width: `${place[2] - place[0]}px`, height: `${place[3] - place[1]}px` });
      viewer.boxes.append(pair.box);
    }
    pairs.push(pair);
    return el("li", {}, pair.button);
  });
  return faces.length ? el("ul", { className: "list", id: "faces" }, ...rows) : el("p", { className: "soft" }, "No face was found in it.");
}
