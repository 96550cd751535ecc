// Renders the editor's two canvases: the picture, and the mask above it; only the parts that have changed.

import { h } from "../core/dom.js";
import { clip } from "./box.js";
import { context2d, levelFor } from "./picture.js";

/** @typedef {import("./box.js").Box} Box */
/** @typedef {import("./viewport.js").Viewport} Viewport */

const MASK_OPACITY = 0.55; // opacity of the mask's colour over the picture
const EDGE_COLOUR = "rgb(0 0 0 / 75%)"; // a dark line around the mask's white edge, so that one of them is visible on any picture

export class LayerRenderer {
  picture = h("canvas", { class: "sl-editor-layer" });
  mask = h("canvas", { class: "sl-editor-layer sl-editor-mask" });
  #pixelRatio = 1;
  #pictureContext = /** @type {CanvasRenderingContext2D} */ (this.picture.getContext("2d"));
  #maskContext = context2d(this.mask);
  #scratch = context2d(h("canvas"));

  /** Resize the canvases to the stage. @param {Viewport} view */
  resize({ width, height }) {
    this.#pixelRatio = Math.min(2, devicePixelRatio);
    for (const canvas of [this.picture, this.mask, this.#scratch.canvas]) {
      canvas.width = Math.max(1, Math.round(width * this.#pixelRatio));
      canvas.height = Math.max(1, Math.round(height * this.#pixelRatio));
    }
  }

  /** @param {Viewport} view @param {import("./picture.js").DecodedPicture} decoded */
  drawPicture(view, { size, levels }) {
    const context = this.#pictureContext;
    const [x, y, width, height] = this.#pictureRect(view, size);
    context.clearRect(0, 0, this.picture.width, this.picture.height);
    context.fillStyle = "#fff"; // the server also composites transparent pictures onto white
    context.fillRect(x, y, width, height);
    context.imageSmoothingQuality = "high";
    const level = levelFor(levels, width);
    if (level) context.drawImage(level, x, y, width, height);
  }

  /**
   * @param {Viewport} view
   * @param {import("./mask.js").Mask} mask
   * @param {string} colour
   * @param {Box | null} part  in pixels of the picture; null: all of it
   */
  drawMask(view, mask, colour, part) {
    const edge = Math.max(1, Math.round(this.#pixelRatio));
    const box = this.#toCanvas(view, part, 4 * edge);
    if (!box) return;
    const scratch = this.#scratch, over = this.#maskContext;
    const all = scratch.canvas;
    const around = clip(box, all, 3 * edge) ?? box;
    redrawWithin(scratch, around, () => scratch.drawImage(mask.canvas, ...this.#pictureRect(view, mask.size)));
    redrawWithin(over, box, () => {
      for (const [x, y] of cornerOffsets(2 * edge)) over.drawImage(all, x, y);
      over.globalCompositeOperation = "source-in";
      over.fillStyle = EDGE_COLOUR;
      over.fillRect(0, 0, all.width, all.height);
      over.globalCompositeOperation = "source-over";
      for (const [x, y] of cornerOffsets(edge)) over.drawImage(all, x, y);
      over.globalCompositeOperation = "destination-out";
      over.drawImage(all, 0, 0);
      scratch.globalCompositeOperation = "source-in";
      scratch.fillStyle = colour;
      scratch.fillRect(box[0], box[1], box[2] - box[0], box[3] - box[1]);
      scratch.globalCompositeOperation = "source-over";
      over.globalCompositeOperation = "source-over";
      over.globalAlpha = MASK_OPACITY;
      over.drawImage(all, 0, 0);
    });
  }

  clearMask() {
    this.#maskContext.clearRect(0, 0, this.mask.width, this.mask.height);
  }

  clear() {
    this.#pictureContext.clearRect(0, 0, this.picture.width, this.picture.height);
    this.clearMask();
  }

  /** The picture's rectangle, in pixels of the canvas. @param {Viewport} view @param {import("./picture.js").Size} size @returns {[number, number, number, number]} */
  #pictureRect({ x, y, scale }, { width, height }) {
    const pixelScale = scale * this.#pixelRatio;
    return [x * this.#pixelRatio, y * this.#pixelRatio, width * pixelScale, height * pixelScale];
  }

  /** @param {Viewport} view @param {Box | null} part @param {number} around @returns {Box | null} */
  #toCanvas({ x, y, scale }, part, around) {
    if (!part) return [0, 0, this.mask.width, this.mask.height];
    const across = (/** @type {number} */ at) => (x + at * scale) * this.#pixelRatio;
    const down = (/** @type {number} */ at) => (y + at * scale) * this.#pixelRatio;
    return clip([across(part[0]), down(part[1]), across(part[2]), down(part[3])], this.mask, around);
  }
}

/** Clear a box and redraw it. @param {CanvasRenderingContext2D} context @param {Box} box @param {() => void} draw */
function redrawWithin(context, [left, top, right, bottom], draw) {
  context.save();
  context.beginPath();
  context.rect(left, top, right - left, bottom - top);
  context.clip();
  context.clearRect(left, top, right - left, bottom - top);
  draw();
  context.restore();
}

/** @param {number} by */
const cornerOffsets = (by) => [[-by, -by], [by, -by], [-by, by], [by, by]].map(([x = 0, y = 0]) => /** @type {const} */ ([x, y]));
