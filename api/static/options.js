/** The form of options, made from the API's own schema: what the API learns is here without a change. */

import { el } from "./dom.js";

/** Shown at once; all others on demand. */
const SIMPLE = ["strength", "scale", "background"];
/** The page asks for the parts that it shows. */
const HIDDEN = ["outputs", "faces"];
const WORDS = {
  strength: ["How much faces are mended", "0 % keeps them as they are"], scale: ["Final size", "of the original’s sides"],
  background: ["Everything but faces", "auto: enlarged by a network where there is one"], model: ["Model", "empty: the best that is here"],
  denoise: ["Noise removal", "realesr-general-x4v3 only"], tile_px: ["Tile size, px", "0: by memory"], min_face_px: ["Smallest face, px", ""],
  max_face_px: ["Largest face, px", "empty: any"], max_faces: ["At most so many faces", "empty: all"], min_score: ["How sure a face must be", ""],
  rotate: ["Look for faces that lie on their side", "takes longer"], passes: ["Passes", "2 mends faces twice"], aligned: ["It is one aligned face crop", ""],
  page: ["Page", "of a TIFF or an animation"], gray: ["Black-and-white photos", "keep: they stay so"], format: ["File format", "auto: as it came"],
  quality: ["JPEG and WebP quality", ""], bit_depth: ["Bit depth", "auto: as it came"], suffix: ["Added to names", ""],
  metadata_policy: ["EXIF, XMP, IPTC", ""], precision: ["Precision", "exact: float32"], seed: ["Seed", "empty: none"],
};

/** How a value is said. @type {Record<string, (value: string | number) => string>} */
export const SHOWN = { strength: (value) => `${Math.round(100 * Number(value))} %`, scale: (value) => `${value} ×` };

/** @param {any} schema @returns {any} without the alternative null */
const plain = (schema) => (schema.anyOf?.some((one) => one.type === "null") ? { ...schema.anyOf.find((one) => one.type !== "null"), optional: true, default: schema.default } : schema);

/** @param {any} schema of one option @param {string} text @returns {any} its value, undefined where it is the default */
export function valueOf(schema, text) {
  const known = plain(schema);
  const value = text === "" && known.optional ? null
    : known.type === "boolean" ? text === "true"
    : known.type === "number" || known.type === "integer" ? Number(text) : text;
  return value === (known.default ?? null) || value === known.default ? undefined : value;
}

/** @param {HTMLFormElement} form @param {Record<string, any>} schemas name → JSON Schema */
export function build(form, schemas) {
  const names = Object.keys(schemas).filter((name) => !HIDDEN.includes(name));
  const group = (some) => el("div", { className: "fields" }, ...some.map((name) => field(name, plain(schemas[name]))));
  form.replaceChildren(
    group(SIMPLE.filter((name) => names.includes(name))),
    el("details", {}, el("summary", {}, "All options"), group(names.filter((name) => !SIMPLE.includes(name)))),
  );
  form.addEventListener("submit", (event) => event.preventDefault());
}

/** @param {HTMLFormElement} form @param {Record<string, any>} schemas @returns {Record<string, any>} what differs from the defaults */
export function read(form, schemas) {
  const found = {};
  for (const name of Object.keys(schemas)) {
    const input = /** @type {any} */ (form.elements.namedItem(name));
    if (!input) continue;
    const value = valueOf(schemas[name], input.type === "checkbox" ? String(input.checked) : input.value);
    if (value !== undefined) found[name] = value;
  }
  return found;
}

function field(name, schema) {
  const [title, hint] = WORDS[name] ?? [name, schema.description ?? ""], id = `option-${name}`;
  const label = el("label", { for: id }, title), more = hint && el("p", { className: "soft", id: `${id}-hint` }, hint);
  const words = { id, name, ...(hint ? { "aria-describedby": `${id}-hint` } : {}) };
  if (schema.enum) {
    const values = [...new Set(schema.enum.map(String))];
    const choices = (schema.optional ? ["", ...values] : values).map((one) => el("option", { value: one, selected: one === (schema.default ?? "") }, one || "best available"));
    return el("div", { className: "field" }, label, el("select", words, ...choices), more);
  }
  if (schema.type === "boolean") return el("div", { className: "field" }, el("label", { for: id }, title, el("input", { ...words, type: "checkbox", checked: schema.default })), more);
  if (schema.type === "number" && "maximum" in schema) {
    const shown = SHOWN[name] ?? String, told = el("output", { for: id }, shown(schema.default));
    label.append(told);
    const input = el("input", { ...words, type: "range", min: schema.minimum, max: schema.maximum, step: schema.maximum > 1 ? 0.5 : 0.05, value: schema.default, oninput: (event) => (told.textContent = shown(event.target.value)) });
    input.defaultValue = String(schema.default);
    input.value = String(schema.default);
    return el("div", { className: "field" }, label, input, more);
  }
  const kind = schema.type === "integer" ? { type: "number", step: 1, ...("minimum" in schema ? { min: schema.minimum, max: schema.maximum } : {}) } : { type: "text" };
  return el("div", { className: "field" }, label, el("input", { ...words, ...kind, value: schema.default ?? "" }), more);
}
