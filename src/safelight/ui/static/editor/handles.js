// Outpainting: how far each edge is drawn out, and the handles that draw it.

import { h } from "../core/dom.js";
import { number, t } from "../core/text.js";

/** @typedef {import("./picture.js").Size} Size */
/** @typedef {keyof typeof SIDES} Side */
/** @typedef {Record<Side, number>} Sides  in pixels of the picture */

/** For each edge, the keys that draw it out and in, and which way is out. */
const SIDES = /** @type {const} */ ({
  left: { axis: "x", outwards: -1, out: ["ArrowLeft", "ArrowUp"], in: ["ArrowRight", "ArrowDown"] },
  right: { axis: "x", outwards: 1, out: ["ArrowRight", "ArrowUp"], in: ["ArrowLeft", "ArrowDown"] },
  top: { axis: "y", outwards: -1, out: ["ArrowUp", "ArrowRight"], in: ["ArrowDown", "ArrowLeft"] },
  bottom: { axis: "y", outwards: 1, out: ["ArrowDown", "ArrowRight"], in: ["ArrowUp", "ArrowLeft"] },
});
const ALL = /** @type {Side[]} */ (Object.keys(SIDES));
const STEP = 8, LEAP = 64; // pixels of the picture
const TIMES = 2, LARGEST = 8192; // how far at most: times the picture's own side, pixels

/** @returns {Sides} */
export const noSides = () => ({ left: 0, right: 0, top: 0, bottom: 0 });
/** @param {Sides} sides */
export const anySide = (sides) => ALL.some((side) => sides[side] > 0);

/** How far an edge can be drawn out. @param {Side} side @param {Size} size */
function farthest(side, { width, height }) {
  const most = Math.min(LARGEST, TIMES * (SIDES[side].axis === "x" ? width : height));
  return Math.floor(most / STEP) * STEP;
}

/** The nearest length that an edge can be drawn out by. @param {Side} side @param {number} pixels @param {Size} size */
export const rounded = (side, pixels, size) => Math.max(0, Math.min(farthest(side, size), Math.round(pixels / STEP) * STEP));

/** The picture and what is drawn out of it. @param {Sides} sides @param {Size} size @returns {import("./view.js").Area} */
export const areaOf = ({ left, right, top, bottom }, { width, height }) => ({
  left: -left, top: -top, width: width + left + right, height: height + top + bottom,
});

export class Handles {
  /** @type {{side: Side, from: number, length: number, scale: number} | null} */
  #drag = null;
  /** @type {{sides: Sides, size: Size, scale: number}} */
  #now = { sides: noSides(), size: { width: 1, height: 1 }, scale: 1 };

  /**
   * @param {{change: (side: Side, pixels: number) => void, end: () => void}} told
   *   change: an edge is to be drawn out so far, not rounded yet; end: that was all for now
   */
  constructor(told) {
    this.told = told;
    this.handles = new Map(ALL.map((side) => [side, this.#make(side)]));
    this.element = h("div", { class: "sl-editor-handles" }, [...this.handles.values()]);
  }

  /**
   * Put them where the edges are now.
   * @param {{sides: Sides, size: Size, view: import("./view.js").View}} now
   */
  update({ sides, size, view }) {
    this.#now = { sides, size, scale: view.scale };
    const { left, top, right, bottom } = view.edges(areaOf(sides, size));
    const on = (/** @type {number} */ at, /** @type {number} */ most) => Math.min(most - 18, Math.max(18, at));
    const x = on((Math.max(0, left) + Math.min(view.width, right)) / 2, view.width);
    const y = on((Math.max(0, top) + Math.min(view.height, bottom)) / 2, view.height);
    const at = { left: [left, y], right: [right, y], top: [x, top], bottom: [x, bottom] };
    for (const [side, handle] of this.handles) {
      const [across = 0, down = 0] = at[side];
      handle.style.translate = `${on(across, view.width)}px ${on(down, view.height)}px`;
      handle.setAttribute("aria-valuenow", String(sides[side]));
      handle.setAttribute("aria-valuemax", String(farthest(side, size)));
      handle.setAttribute("aria-valuetext", t("editor.pixels", { n: sides[side] }));
      handle.querySelector("span:last-child")?.replaceChildren(sides[side] ? `+${number(sides[side])}` : "");
    }
  }

  /** @param {Side} side */
  #make(side) {
    const { axis } = SIDES[side];
    return h(
      "button",
      {
        type: "button", role: "slider", class: `sl-editor-handle sl-${side}`,
        "aria-label": t(`editor.expand.${side}`), "aria-valuemin": 0, "aria-valuemax": 0, "aria-valuenow": 0,
        "aria-orientation": axis === "x" ? "horizontal" : "vertical",
        onpointerdown: (/** @type {PointerEvent} */ event) => this.#down(side, event),
        onpointermove: (/** @type {PointerEvent} */ event) => this.#move(event),
        onpointerup: () => this.#up(),
        onpointercancel: () => this.#up(),
        onkeydown: (/** @type {KeyboardEvent} */ event) => this.#key(side, event),
      },
      h("span", { class: "sl-editor-grip" }),
      h("span", { class: "sl-editor-length", "aria-hidden": "true" }),
    );
  }

  /** @param {Side} side @param {PointerEvent} event */
  #down(side, event) {
    if (event.button !== 0 || this.#drag || !(event.currentTarget instanceof HTMLElement)) return;
    event.currentTarget.setPointerCapture(event.pointerId);
    this.#drag = { side, from: place(side, event), length: this.#now.sides[side], scale: this.#now.scale };
  }

  /** @param {PointerEvent} event */
  #move(event) {
    if (!this.#drag) return;
    const { side, from, length, scale } = this.#drag;
    this.told.change(side, length + (SIDES[side].outwards * (place(side, event) - from)) / scale);
  }

  #up() {
    if (!this.#drag) return;
    this.#drag = null;
    this.told.end();
  }

  /** @param {Side} side @param {KeyboardEvent} event */
  #key(side, event) {
    const keys = SIDES[side];
    const now = this.#now.sides[side];
    const step = event.shiftKey ? LEAP : STEP;
    const one = (/** @type {readonly string[]} */ those) => those.includes(event.key);
    const pixels = one(keys.out) ? now + step
      : one(keys.in) ? now - step
      : { PageUp: now + LEAP, PageDown: now - LEAP, Home: 0, End: farthest(side, this.#now.size) }[event.key];
    if (pixels === undefined || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    this.told.change(side, pixels);
    this.told.end();
  }
}

/** Where a pointer is along an edge's way. @param {Side} side @param {PointerEvent} event */
const place = (side, event) => (SIDES[side].axis === "x" ? event.clientX : event.clientY);
