// Outpainting: how far each side is extended, and the handles to drag it.

import { numberControl } from "../controls.js";
import { h } from "../core/dom.js";
import { formatNumber, t } from "../core/text.js";

/** @typedef {import("./picture.js").Size} Size */
/** @typedef {keyof typeof SIDES} Side */
/** @typedef {Record<Side, number>} Sides  in pixels of the picture */

/** For each side: the keys that extend and shrink it, and the sign of its outward direction. */
const SIDES = /** @type {const} */ ({
  left: { axis: "x", outwards: -1, out: ["ArrowLeft", "ArrowUp"], in: ["ArrowRight", "ArrowDown"] },
  right: { axis: "x", outwards: 1, out: ["ArrowRight", "ArrowUp"], in: ["ArrowLeft", "ArrowDown"] },
  top: { axis: "y", outwards: -1, out: ["ArrowUp", "ArrowRight"], in: ["ArrowDown", "ArrowLeft"] },
  bottom: { axis: "y", outwards: 1, out: ["ArrowDown", "ArrowRight"], in: ["ArrowUp", "ArrowLeft"] },
});
const SIDE_NAMES = /** @type {Side[]} */ (Object.keys(SIDES));
const STEP = 8, LARGE_STEP = 64; // pixels of the picture
const MAX_FACTOR = 2; // limit of one side: a multiple of the picture's own length

/** @returns {Sides} */
export const zeroSides = () => ({ left: 0, right: 0, top: 0, bottom: 0 });
/** @param {Sides} sides */
export const isExpanded = (sides) => SIDE_NAMES.some((side) => sides[side] > 0);

/** The maximum extension of a side, in pixels. @param {Side} side @param {Size} size */
function maxLength(side, { width, height }) {
  const max = Math.min(numberControl(`outpaint.${side}`).maximum, MAX_FACTOR * (SIDES[side].axis === "x" ? width : height));
  return Math.floor(max / STEP) * STEP;
}

/** The nearest extension that is allowed for a side, in pixels. @param {Side} side @param {number} pixels @param {Size} size */
export const roundLength = (side, pixels, size) => Math.max(0, Math.min(maxLength(side, size), Math.round(pixels / STEP) * STEP));

/** The picture with its extensions. @param {Sides} sides @param {Size} size @returns {import("./viewport.js").Area} */
export const expandedArea = ({ left, right, top, bottom }, { width, height }) => ({
  left: -left, top: -top, width: width + left + right, height: height + top + bottom,
});

export class Handles {
  /** @type {{side: Side, from: number, length: number, scale: number} | null} */
  #drag = null;
  /** @type {{sides: Sides, size: Size, scale: number}} */
  #current = { sides: zeroSides(), size: { width: 1, height: 1 }, scale: 1 };

  /**
   * @param {{change: (side: Side, pixels: number) => void, end: () => void}} callbacks
   *   change: a side should be extended to so many pixels, not yet rounded; end: the drag has ended
   */
  constructor(callbacks) {
    this.callbacks = callbacks;
    this.handles = new Map(SIDE_NAMES.map((side) => [side, this.#make(side)]));
    this.element = h("div", { class: "sl-editor-handles" }, [...this.handles.values()]);
  }

  /**
   * Position the handles at the sides of the picture.
   * @param {{sides: Sides, size: Size, view: import("./viewport.js").Viewport}} now
   */
  update({ sides, size, view }) {
    this.#current = { sides, size, scale: view.scale };
    const { left, top, right, bottom } = view.edges(expandedArea(sides, size));
    const clampInside = (/** @type {number} */ at, /** @type {number} */ max) => Math.min(max - 18, Math.max(18, at));
    const x = clampInside((Math.max(0, left) + Math.min(view.width, right)) / 2, view.width);
    const y = clampInside((Math.max(0, top) + Math.min(view.height, bottom)) / 2, view.height);
    const at = { left: [left, y], right: [right, y], top: [x, top], bottom: [x, bottom] };
    for (const [side, handle] of this.handles) {
      const [across = 0, down = 0] = at[side];
      handle.style.translate = `${clampInside(across, view.width)}px ${clampInside(down, view.height)}px`;
      handle.setAttribute("aria-valuenow", String(sides[side]));
      handle.setAttribute("aria-valuemax", String(maxLength(side, size)));
      handle.setAttribute("aria-valuetext", t("editor.pixels", { n: sides[side] }));
      handle.querySelector("span:last-child")?.replaceChildren(sides[side] ? `+${formatNumber(sides[side])}` : "");
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
        onpointerdown: (/** @type {PointerEvent} */ event) => this.#onPointerDown(side, event),
        onpointermove: (/** @type {PointerEvent} */ event) => this.#onPointerMove(event),
        onpointerup: () => this.#onPointerUp(),
        onpointercancel: () => this.#onPointerUp(),
        onkeydown: (/** @type {KeyboardEvent} */ event) => this.#onKeyDown(side, event),
      },
      h("span", { class: "sl-editor-grip" }),
      h("span", { class: "sl-editor-length", "aria-hidden": "true" }),
    );
  }

  /** @param {Side} side @param {PointerEvent} event */
  #onPointerDown(side, event) {
    if (event.button !== 0 || this.#drag || !(event.currentTarget instanceof HTMLElement)) return;
    event.currentTarget.setPointerCapture(event.pointerId);
    this.#drag = { side, from: coordinate(side, event), length: this.#current.sides[side], scale: this.#current.scale };
  }

  /** @param {PointerEvent} event */
  #onPointerMove(event) {
    if (!this.#drag) return;
    const { side, from, length, scale } = this.#drag;
    this.callbacks.change(side, length + (SIDES[side].outwards * (coordinate(side, event) - from)) / scale);
  }

  #onPointerUp() {
    if (!this.#drag) return;
    this.#drag = null;
    this.callbacks.end();
  }

  /** @param {Side} side @param {KeyboardEvent} event */
  #onKeyDown(side, event) {
    const keys = SIDES[side];
    const now = this.#current.sides[side];
    const step = event.shiftKey ? LARGE_STEP : STEP;
    const isOneOf = (/** @type {readonly string[]} */ those) => those.includes(event.key);
    const pixels = isOneOf(keys.out) ? now + step
      : isOneOf(keys.in) ? now - step
      : { PageUp: now + LARGE_STEP, PageDown: now - LARGE_STEP, Home: 0, End: maxLength(side, this.#current.size) }[event.key];
    if (pixels === undefined || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    this.callbacks.change(side, pixels);
    this.callbacks.end();
  }
}

/** The pointer's coordinate on a side's axis. @param {Side} side @param {PointerEvent} event */
const coordinate = (side, event) => (SIDES[side].axis === "x" ? event.clientX : event.clientY);
