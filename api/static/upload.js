/** From a file to a job: straight into the storage where the browser may, otherwise through the API. */

import { ApiError, authorization, newKey, patiently, post, problemOf, unreachable } from "./api.js";

const TYPES = { jpg: "image/jpeg", jpeg: "image/jpeg", png: "image/png", tif: "image/tiff", tiff: "image/tiff", webp: "image/webp", gif: "image/gif", avif: "image/avif" };

/** @param {{name: string, type: string}} file @returns {string | null} its media type, if it is one that is read */
export function typeOf(file) {
  const kind = TYPES[(file.name.split(".").pop() ?? "").toLowerCase()];
  return Object.values(TYPES).includes(file.type) ? file.type : (kind ?? null);
}

/** @param {string} type @returns {boolean} whether every browser shows pictures of this type */
export const isShown = (type) => /^image\/(jpeg|png|webp|gif|avif)$/.test(type);

/** @param {Record<string, any>} options @param {string} type of the input @returns {Record<string, any>} with the parts that the page shows */
export function withParts(options, type) {
  const shown = options.format && options.format !== "auto" ? options.format !== "tiff" : isShown(type);
  const outputs = new Set([...(options.outputs ?? ["image", "provenance"]), "image", "mask", ...(shown && isShown(type) ? [] : ["comparison"])]);
  return { ...options, outputs: [...outputs] };
}

/**
 * @param {File} file
 * @param {Record<string, any>} options
 * @param {(share: number) => void} onProgress 0 to 1
 * @returns {Promise<any>} the job
 * @throws {ApiError}
 */
export async function submit(file, options, onProgress) {
  const type = typeOf(file);
  if (!type) {
    throw new ApiError({ code: "image_unreadable", status: 0, retryAfter: 0, title: "This is not a picture that is read here", detail: "Choose a JPEG, PNG, TIFF, WebP, GIF or AVIF." });
  }
  const wishes = { options: withParts(options, type), metadata: { name: file.name.slice(0, 200) } };
  const headers = { "Idempotency-Key": newKey() };
  const place = await post("/v1/uploads", { content_type: type, size: file.size, filename: file.name });
  const isStored = await send("PUT", place.url, file, { "Content-Type": type }, onProgress).then(() => true, () => false);
  if (isStored) return post("/v1/jobs", { upload_id: place.upload_id, ...wishes }, headers);
  // The storage can't be reached from here, or its bucket does not let this page in.
  const form = new FormData();
  form.append("request", JSON.stringify(wishes));
  form.append("file", file, file.name);
  // Twice and no more: each time the whole file is sent.
  return JSON.parse(await patiently(() => send("POST", "/v1/jobs", form, { ...headers, ...authorization() }, onProgress), { tries: 2 }));
}

/**
 * XMLHttpRequest, because fetch tells nothing of how much has been sent.
 * @returns {Promise<string>} the answer's text, where it says success
 * @throws {ApiError}
 */
function send(method, url, body, headers, onProgress) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open(method, url);
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
    request.upload.onprogress = (event) => event.lengthComputable && onProgress(event.loaded / event.total);
    request.onload = () => {
      if (request.status < 300) resolve(request.responseText);
      else reject(new ApiError(problemOf(request.status, request.responseText, request.getResponseHeader("Retry-After"))));
    };
    request.onerror = () => reject(unreachable());
    request.send(body);
  });
}
