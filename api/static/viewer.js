/** Before and after in one place, with a divider, zoom and pan. Pictures are only shown, never read: no CORS is needed. */

import { el } from "./dom.js";

/** @typedef {{scale: number, x: number, y: number}} View of the world: stage = world · scale + (x, y) */

/** @param {number} w @param {number} h of the world @param {number} W @param {number} H of the stage @returns {View} */
export function fit(w, h, W, H) {
  const scale = Math.min(W / w, H / h);
  return { scale, x: (W - w * scale) / 2, y: (H - h * scale) / 2 };
}

/** @param {View} view @param {number} factor @param {number} x @param {number} y the stage's point that stays @param {number} least @returns {View} */
export function zoomed(view, factor, x, y, least) {
  const scale = Math.min(16, Math.max(least, view.scale * factor)), ratio = scale / view.scale;
  return { scale, x: x - (x - view.x) * ratio, y: y - (y - view.y) * ratio };
}

/** A comparison's parts, as pipeline/comparison.py lays them out. @param {number} w @param {number} h of the result, px */
export function halves(w, h) {
  const shrink = Math.min(1, 2048 / Math.max(w, h));
  const width = Math.max(1, Math.round(w * shrink)), height = Math.max(1, Math.round(h * shrink));
  return { width, height, bar: Math.max(28, Math.round(0.06 * Math.min(width, height))), gap: Math.max(2, Math.round(0.01 * width)) };
}

/** @param {string | null | undefined} address @returns {Promise<HTMLImageElement | null>} the picture, if this browser can show it */
export const opened = (address) => new Promise((done) => {
  if (!address) return done(null);
  const picture = new Image();
  picture.onload = () => done(picture);
  picture.onerror = () => done(null);
  picture.src = address;
});

export class Viewer {
  /** @param {HTMLElement} stage @param {HTMLElement} tools */
  constructor(stage, tools) {
    this.stage = stage;
    this.tools = tools;
    this.share = 50;
    this.pointers = new Map();
    this.listen();
    new ResizeObserver(() => this.width && this.fit()).observe(stage);
  }

  /**
   * @param {{width: number, height: number, before: string | null, after: string | null, comparison: string | null, mask: string | null, name: string}} picture
   *   sizes of the result in px; addresses
   */
  show(picture) {
    const half = picture.comparison ? halves(picture.width, picture.height) : null;
    this.width = half?.width ?? picture.width;
    this.height = half?.height ?? picture.height;
    this.after = el("div", { className: "layer" });
    const before = el("div", { className: "layer" });
    if (half) {
      for (const [layer, left] of [[before, 0], [this.after, half.width + half.gap]]) {
        const image = el("img", { src: picture.comparison, alt: `${picture.name}, ${left ? "restored" : "before"}, a preview` });
        layer.classList.add("half");
        image.style.left = `${-left}px`;
        image.style.top = `${-half.bar}px`;
        layer.append(image);
      }
    } else {
      if (picture.before) before.append(el("img", { src: picture.before, alt: `${picture.name}, before` }));
      if (picture.after) this.after.append(el("img", { src: picture.after, alt: `${picture.name}, restored` }));
    }
    this.mask = picture.mask && el("div", { className: "mask", hidden: true }, el("img", { src: picture.mask, alt: "What was changed" }), el("i"));
    this.boxes = el("div", { hidden: true });
    this.world = el("div", { className: "world" }, before, this.after, this.mask, this.boxes);
    this.world.style.width = `${this.width}px`;
    this.world.style.height = `${this.height}px`;
    this.divider = el("div", { className: "divider", role: "slider", tabIndex: 0, "aria-label": "Divider between before and after", "aria-orientation": "horizontal", "aria-valuemin": 0, "aria-valuemax": 100 });
    const tags = [el("span", { className: "tag l" }, "Before"), el("span", { className: "tag r" }, "After")];
    const can = picture.comparison || (picture.before && picture.after);
    this.stage.replaceChildren(this.world, ...(can ? [...tags, this.divider] : []));
    this.share = can ? 50 : 0;
    this.buildTools();
    this.stage.hidden = this.tools.hidden = false;
    this.fit();
  }

  fit() {
    this.view = fit(this.width, this.height, this.stage.clientWidth, this.stage.clientHeight);
    // A picture that is smaller than the stage is enlarged to fit, and may be looked at as it is.
    this.least = Math.min(1, this.view.scale);
    this.draw();
  }

  /** @param {number} factor */
  zoom(factor, x = this.stage.clientWidth / 2, y = this.stage.clientHeight / 2) {
    this.view = zoomed(this.view, factor, x, y, this.least);
    if (this.view.scale === this.least && this.least < 1) this.fit();
    else this.draw();
  }

  /** @param {number} share where the divider is, 0 to 100 of the stage */
  divide(share) {
    this.share = Math.min(100, Math.max(0, share));
    this.draw();
  }

  /** @param {number[]} box x0, y0, x1, y1 in the world */
  lookAt([x0, y0, x1, y1]) {
    const scale = Math.max(this.least, Math.min(8, (0.4 * Math.min(this.stage.clientWidth, this.stage.clientHeight)) / Math.max(x1 - x0, y1 - y0)));
    this.view = { scale, x: this.stage.clientWidth / 2 - (scale * (x0 + x1)) / 2, y: this.stage.clientHeight / 2 - (scale * (y0 + y1)) / 2 };
    this.draw();
  }

  showFaces() {
    this.boxes.hidden = false;
    this.faceButton.setAttribute("aria-pressed", "true");
  }

  draw() {
    const { scale, x, y } = this.view, at = (this.stage.clientWidth * this.share) / 100;
    this.world.style.transform = `translate(${x}px, ${y}px) scale(${scale})`;
    this.world.style.setProperty("--k", String(1 / scale));
    const cut = Math.min(this.width, Math.max(0, (at - x) / scale));
    this.after.style.clipPath = `inset(0 0 0 ${cut}px)`;
    this.divider.style.left = `${at}px`;
    this.divider.setAttribute("aria-valuenow", String(Math.round(this.share)));
    this.divider.setAttribute("aria-valuetext", `${Math.round(this.share)} percent before, ${Math.round(100 - this.share)} percent after`);
    this.told.textContent = `${Math.round(scale * 100)} %`;
  }

  buildTools() {
    this.told = el("output", { "aria-label": "Zoom" });
    const toggle = (words, what) => el("button", { type: "button", "aria-pressed": "false", onclick: (event) => {
      what.hidden = !what.hidden;
      event.currentTarget.setAttribute("aria-pressed", String(!what.hidden));
    } }, words);
    const zoom = el("div", { className: "zoom", role: "group", "aria-label": "Zoom" },
      el("button", { type: "button", "aria-label": "Zoom out", onclick: () => this.zoom(1 / 1.5) }, "−"), this.told,
      el("button", { type: "button", "aria-label": "Zoom in", onclick: () => this.zoom(1.5) }, "+"),
      el("button", { type: "button", onclick: () => this.fit() }, "Fit"),
      el("button", { type: "button", onclick: () => this.zoom(1 / this.view.scale) }, "1 : 1"));
    this.faceButton = toggle("Faces", this.boxes);
    this.tools.replaceChildren(zoom, el("div", { className: "zoom" }, this.faceButton, this.mask ? toggle("What changed", this.mask) : null));
  }

  /** @param {number} right @param {number} down px that the picture moves by */
  pan(right, down) {
    this.view = { ...this.view, x: this.view.x + right, y: this.view.y + down };
    this.draw();
  }

  /** On the divider arrows move it, elsewhere on the stage the picture. @param {KeyboardEvent} event */
  onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const act = this.zoomKeys()[event.key] ?? (event.target === this.divider ? this.dividerKeys(event.shiftKey ? 10 : 2) : this.panKeys(event.shiftKey ? 200 : 50))[event.key];
    if (!act) return;
    act();
    event.preventDefault();
  }

  zoomKeys() {
    const closer = () => this.zoom(1.5);
    return { "+": closer, "=": closer, "-": () => this.zoom(1 / 1.5), 0: () => this.fit(), 1: () => this.zoom(1 / this.view.scale) };
  }

  dividerKeys(step) {
    const by = (share) => () => this.divide(this.share + share);
    return { ArrowLeft: by(-step), ArrowRight: by(step), ArrowDown: by(-step), ArrowUp: by(step), PageDown: by(-10), PageUp: by(10), Home: by(-100), End: by(100) };
  }

  /** The view moves to where the arrow points, so the picture moves the other way. */
  panKeys(step) {
    return { ArrowLeft: () => this.pan(step, 0), ArrowRight: () => this.pan(-step, 0), ArrowUp: () => this.pan(0, step), ArrowDown: () => this.pan(0, -step) };
  }

  listen() {
    const { stage, pointers } = this, at = (event) => {
      const frame = stage.getBoundingClientRect();
      return { x: event.clientX - frame.left, y: event.clientY - frame.top };
    };
    stage.addEventListener("keydown", (event) => this.onKey(event));
    stage.addEventListener("wheel", (event) => {
      event.preventDefault();
      const { x, y } = at(event);
      this.zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0015)), x, y);
    }, { passive: false });
    stage.addEventListener("pointerdown", (event) => {
      if (event.target.closest?.(".box")) return;
      this.dividing = event.target === this.divider;
      pointers.set(event.pointerId, at(event));
      stage.setPointerCapture(event.pointerId);
    });
    stage.addEventListener("pointermove", (event) => {
      const was = pointers.get(event.pointerId), is = at(event);
      if (!was) return;
      pointers.set(event.pointerId, is);
      if (pointers.size === 2) {
        const [other] = [...pointers].filter(([id]) => id !== event.pointerId).map(([, point]) => point);
        const far = (point) => Math.hypot(point.x - other.x, point.y - other.y);
        this.zoom(far(is) / Math.max(1, far(was)), (is.x + other.x) / 2, (is.y + other.y) / 2);
      } else if (this.dividing) {
        this.divide((100 * is.x) / stage.clientWidth);
      } else {
        this.pan(is.x - was.x, is.y - was.y);
      }
    });
    for (const name of ["pointerup", "pointercancel"]) stage.addEventListener(name, (event) => pointers.delete(event.pointerId));
  }
}
