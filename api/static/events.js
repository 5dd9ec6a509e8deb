/** Server-sent events read by fetch, because EventSource can't send a key. */

import { ApiError, call, json } from "./api.js";

/**
 * Takes text as it comes and gives whole events.
 * @returns {(text: string) => {id: string, event: string, data: string}[]}
 */
export function parser() {
  let rest = "";
  return (text) => {
    const blocks = (rest + text).split("\n\n");
    rest = blocks.pop() ?? "";
    return blocks.flatMap((block) => {
      const found = { id: "", event: "message", data: "" };
      for (const line of block.split("\n")) {
        const [, name, value] = /^(\w+): ?(.*)$/.exec(line) ?? [];
        if (name in found) found[name] = value;
      }
      return found.data ? [found] : [];
    });
  };
}

/**
 * Follows a job or a batch to its end; a connection that breaks is taken up where it was.
 * @param {string} path of what is followed
 * @param {{onProgress: (progress: any) => void, onBreak: () => void, signal: AbortSignal}} how
 * @returns {Promise<any>} it at its end
 */
export async function follow(path, { onProgress, onBreak, signal }) {
  const seen = { id: "" };
  for (let pause = 500; ; pause = Math.min(pause * 2, 15000)) {
    signal.throwIfAborted();
    try {
      const ended = await listen(path, seen, signal, (event) => {
        pause = 500;
        onProgress(event);
      });
      if (ended) return ended;
    } catch (err) {
      // A refusal stays one; everything else is a connection that breaks off.
      if (signal.aborted || (err instanceof ApiError && err.problem.status >= 400 && err.problem.status < 500)) throw err;
      onBreak();
    }
    await new Promise((wake) => setTimeout(wake, pause));
  }
}

/** One connection. @returns {Promise<any>} what is followed if it has ended; null where the stream was ended before */
async function listen(path, seen, signal, onProgress) {
  const headers = seen.id ? { "Last-Event-ID": seen.id } : {};
  const answer = await call(`${path}/events`, { headers, signal, cache: "no-store" });
  if (answer.status === 204) return json(path);
  const parse = parser(), words = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let part = await words.read(); !part.done; part = await words.read()) {
    for (const event of parse(part.value)) {
      seen.id = event.id || seen.id;
      if (event.event === "end") return JSON.parse(event.data);
      onProgress(JSON.parse(event.data));
    }
  }
  return null;
}
