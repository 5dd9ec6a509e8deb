/** Elements in few words. Text is set as text: nothing from outside ever becomes markup. */

/**
 * @param {string} tag
 * @param {Record<string, any>} [words] properties; names with a dash, role and for are attributes; on… are listeners
 * @param {...(Node | string | null | undefined | false)} inside
 * @returns {any}
 */
export function el(tag, words = {}, ...inside) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(words)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name.includes("-") || name === "role" || name === "for") made.setAttribute(name, String(value));
    else made[name] = value;
  }
  made.append(...inside.filter((one) => one || one === ""));
  return made;
}

/**
 * The service's sentences: what stands between backticks is a command or a name.
 * @param {string} text @returns {(Node | string)[]}
 */
export const sentence = (text) => text.split(/`([^`]+)`/).map((part, index) => (index % 2 ? el("code", {}, part) : part));

/** @param {string} id @returns {any} */
export const by = (id) => document.getElementById(id);

/** @param {string} words said once to a screen reader */
export function say(words) {
  by("live").textContent = words;
}
