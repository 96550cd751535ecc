// The mask: the area to regenerate, as the alpha channel of a white canvas, with strokes, undo and redo.

import { h } from "../core/dom.js";
import { clip, union } from "./box.js";
import { floodRegion } from "./flood.js";
import { context2d, longerSide } from "./picture.js";

/** @typedef {import("./box.js").Box} Box */
/** @typedef {import("./picture.js").Size} Size */
/** @typedef {{x: number, y: number, width: number}} Dab  a circle, in pixels of the picture */
/** @typedef {{box: Box, runs: Uint32Array}} Patch  earlier content of a part of the mask, run-length encoded */

const MAX_SIDE = 2048; // longer side of the canvas, pixels; the mask of a larger picture is upscaled when exported
const MAX_STEPS = 50, MAX_BYTES = 32 << 20; // limits of the undo history
const MIN_LINE_WIDTH = 2; // pixels of the canvas; a thinner line would be anti-aliased to grey
const PAINTED_ALPHA = 128; // alpha from which a pixel counts as painted, the same threshold as the server's

export class Mask {
  /** Undo and redo history. @type {Patch[]} */
  #undoSteps = [];
  /** @type {Patch[]} */
  #redoSteps = [];
  /** The alpha channel after the last complete step. */
  #alpha;
  #context;
  #paintedPixels = 0; // number of painted pixels
  /** How often it has changed. */
  changes = 0;
  /** The area that the current stroke has changed. @type {Box | null} */
  #dirty = null;
  /** The stroke's last dab, and the end of its smoothed line. @type {{last: Dab, at: {x: number, y: number}} | null} */
  #stroke = null;
  /** @type {Promise<Blob> | null} */
  #file = null;

  /**
   * @param {Size} size  of the picture
   * @param {ImageBitmap | null} [image]  initial mask, scaled to the picture; its lightness becomes alpha. Default: empty
   */
  constructor(size, image = null) {
    this.size = size;
    this.scale = Math.min(1, MAX_SIDE / longerSide(size));
    const side = (/** @type {number} */ length) => Math.max(1, Math.round(length * this.scale));
    this.canvas = h("canvas", { width: side(size.width), height: side(size.height) });
    this.#context = context2d(this.canvas);
    this.#context.setTransform(this.canvas.width / size.width, 0, 0, this.canvas.height / size.height, 0, 0);
    this.#context.lineCap = this.#context.lineJoin = "round";
    this.#context.fillStyle = this.#context.strokeStyle = "#fff";
    this.#alpha = new Uint8Array(this.canvas.width * this.canvas.height);
    if (!image) return;
    this.replace(image);
    this.#undoSteps = [];
  }

  get empty() {
    return this.#paintedPixels === 0;
  }
  get canUndo() {
    return this.#undoSteps.length > 0;
  }
  get canRedo() {
    return this.#redoSteps.length > 0;
  }
  /** Whether a stroke is in progress. */
  get painting() {
    return this.#stroke !== null;
  }

  /** Begin a stroke. @param {Dab} dab @param {boolean} erase @returns {Box}  what changed, in pixels of the picture */
  begin(dab, erase) {
    this.#context.globalCompositeOperation = erase ? "destination-out" : "source-over";
    this.#stroke = { last: dab, at: dab };
    this.#context.beginPath();
    this.#context.arc(dab.x, dab.y, this.#lineWidth(dab) / 2, 0, 2 * Math.PI);
    this.#context.fill();
    return this.#markDirty(this.#lineWidth(dab), dab);
  }

  /** Continue the stroke by a quadratic curve through the midpoints between its dabs. @param {Dab} dab @returns {Box | null} */
  extend(dab) {
    if (!this.#stroke) return null;
    const { last, at } = this.#stroke;
    const middle = { x: (last.x + dab.x) / 2, y: (last.y + dab.y) / 2 };
    const width = (this.#context.lineWidth = (this.#lineWidth(last) + this.#lineWidth(dab)) / 2);
    this.#context.beginPath();
    this.#context.moveTo(at.x, at.y);
    this.#context.quadraticCurveTo(last.x, last.y, middle.x, middle.y);
    this.#context.stroke();
    this.#stroke = { last: dab, at: middle };
    return this.#markDirty(width, at, last, middle);
  }

  /** End the stroke at its last dab. @returns {Box | null} */
  end() {
    if (!this.#stroke) return null;
    const { last, at } = this.#stroke;
    const width = (this.#context.lineWidth = this.#lineWidth(last));
    this.#context.beginPath();
    this.#context.moveTo(at.x, at.y);
    this.#context.lineTo(last.x, last.y);
    this.#context.stroke();
    const box = this.#markDirty(width, at, last);
    this.#stroke = null;
    this.#commitStroke();
    return box;
  }

  /** Fill a polygon, as one step. @param {{x: number, y: number}[]} corners  in pixels of the picture @param {boolean} erase @returns {Box | null}  what changed */
  fillPolygon(corners, erase) {
    if (corners.length < 3 || this.painting) return null;
    this.#context.globalCompositeOperation = erase ? "destination-out" : "source-over";
    this.#context.beginPath();
    for (const { x, y } of corners) this.#context.lineTo(x, y);
    this.#context.fill();
    const box = this.#markDirty(0, ...corners);
    this.#commitStroke();
    return box;
  }

  /**
   * Fill the region around a point, as one step: the connected pixels whose colour is similar, up to what is painted already. When erasing, the
   * connected painted pixels with a similar colour.
   * @param {{x: number, y: number}} at  in pixels of the picture
   * @param {Uint8ClampedArray} colours  of the picture in the canvas's size, RGBA
   * @param {number} tolerance  largest difference of a colour channel, 0 to 1; 1: any colour
   * @param {boolean} erase
   * @returns {boolean}  whether anything changed
   */
  fillRegion(at, colours, tolerance, erase) {
    const { width, height } = this.canvas;
    const column = Math.floor((at.x * width) / this.size.width), row = Math.floor((at.y * height) / this.size.height);
    if (this.painting || column < 0 || row < 0 || column >= width || row >= height) return false;
    const start = row * width + column, limit = tolerance * 255, alpha = this.#alpha;
    const difference = (/** @type {number} */ one, /** @type {number} */ other) =>
      Math.max(Math.abs(colours[one] - colours[other]), Math.abs(colours[one + 1] - colours[other + 1]), Math.abs(colours[one + 2] - colours[other + 2]));
    const inside = floodRegion(this.canvas, start, (index) => alpha[index] >= PAINTED_ALPHA === erase && difference(4 * index, 4 * start) <= limit);
    const isEdge = (/** @type {number} */ index) => alpha[index] > 0 && alpha[index] < PAINTED_ALPHA && [-1, 1, -width, width].some((by) => inside[index + by]);
    const changed = alpha.map((value, index) => (inside[index] ? (erase ? 0 : 255) : value && isEdge(index) ? (erase ? 0 : 255) : value));
    return this.#replaceAll(changed);
  }

  /** Discard the unfinished stroke. */
  cancel() {
    this.#stroke = null;
    const box = this.#takeDirty();
    if (box) this.#drawAlpha(box);
  }

  /** Replace all of it, as one step. @param {ImageBitmap} image  scaled to the picture; its lightness becomes alpha */
  replace(image) {
    const { width, height } = this.canvas;
    const scratch = context2d(h("canvas", { width, height }));
    scratch.drawImage(image, 0, 0, width, height);
    const { data } = scratch.getImageData(0, 0, width, height);
    const at = (/** @type {number} */ place) => data[place] ?? 0;
    const lightness = (/** @type {number} */ place) => at(place) * 0.299 + at(place + 1) * 0.587 + at(place + 2) * 0.114;
    this.#replaceAll(this.#alpha.map((_, index) => (lightness(4 * index) * at(4 * index + 3)) / 255 + 0.5));
  }

  /** Invert the mask. */
  invert() {
    this.#replaceAll(this.#alpha.map((alpha) => 255 - alpha));
  }

  clear() {
    this.#replaceAll(new Uint8Array(this.#alpha.length));
  }

  undo() {
    this.#step(this.#undoSteps, this.#redoSteps);
  }

  redo() {
    this.#step(this.#redoSteps, this.#undoSteps);
  }

  /**
   * The mask as a PNG file of the picture's size: white where it is painted, black elsewhere.
   * @returns {Promise<Blob>}
   */
  file() {
    this.#file ??= new Promise((resolve, reject) => {
      const { width, height } = this.size;
      const canvas = h("canvas", { width, height });
      const context = context2d(canvas);
      context.fillRect(0, 0, width, height);
      context.drawImage(this.canvas, 0, 0, width, height);
      canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error(`No mask of ${width} × ${height} pixels.`))), "image/png");
    });
    this.#file.catch(() => (this.#file = null));
    return this.#file;
  }

  /** The mask in the canvas's size, as white with an alpha channel; an image for the constructor. @returns {Promise<Blob | null>}  null: it is empty */
  stored() {
    return new Promise((resolve) => (this.empty ? resolve(null) : this.canvas.toBlob(resolve, "image/png")));
  }

  /** The line width for a dab, in pixels of the picture. @param {Dab} dab */
  #lineWidth({ width }) {
    return Math.max(width, MIN_LINE_WIDTH / this.scale);
  }

  /** Add a line through these points to the changed area. @param {number} width @param {...{x: number, y: number}} points @returns {Box} */
  #markDirty(width, ...points) {
    const margin = width / 2 + 1 / this.scale;
    const x = points.map((point) => point.x), y = points.map((point) => point.y);
    /** @type {Box} */
    const box = [Math.min(...x) - margin, Math.min(...y) - margin, Math.max(...x) + margin, Math.max(...y) + margin];
    this.#dirty = union(this.#dirty, box);
    return box;
  }

  /** The changed area in pixels of the canvas; resets it. @returns {Box | null} */
  #takeDirty() {
    const touched = this.#dirty;
    this.#dirty = null;
    const x = this.canvas.width / this.size.width, y = this.canvas.height / this.size.height;
    return touched && clip([touched[0] * x, touched[1] * y, touched[2] * x, touched[3] * y], this.canvas, 1);
  }

  /** Commit the stroke on the canvas as a step. */
  #commitStroke() {
    const box = this.#takeDirty();
    if (!box) return;
    const [left, top, right, bottom] = box;
    const { data } = this.#context.getImageData(left, top, right - left, bottom - top);
    const alpha = new Uint8Array(data.length / 4);
    for (let index = 0; index < alpha.length; index++) alpha[index] = data[index * 4 + 3] ?? 0;
    this.#commit(box, alpha);
  }

  /** @param {Uint8Array} alpha  of the whole canvas @returns {boolean}  whether it changed */
  #replaceAll(alpha) {
    /** @type {Box} */
    const all = [0, 0, this.canvas.width, this.canvas.height];
    const changed = this.#commit(all, alpha);
    this.#drawAlpha(all);
    return changed;
  }

  /** Add a step to the history, unless nothing has changed. @param {Box} box @param {Uint8Array} alpha  of the box, row by row @returns {boolean}  whether anything has */
  #commit(box, alpha) {
    const previousRuns = this.#encodeRuns(box);
    if (!this.#write(box, alpha)) return false;
    this.#undoSteps.push({ box, runs: previousRuns });
    this.#redoSteps = [];
    let bytes = 0;
    const firstKept = this.#undoSteps.findLastIndex(({ runs }) => (bytes += runs.byteLength) > MAX_BYTES) + 1;
    this.#undoSteps = this.#undoSteps.slice(Math.max(firstKept, this.#undoSteps.length - MAX_STEPS));
    return true;
  }

  /** @param {Patch[]} from @param {Patch[]} to */
  #step(from, to) {
    const patch = from.pop();
    if (!patch) return;
    to.push({ box: patch.box, runs: this.#encodeRuns(patch.box) });
    const [left, top, right, bottom] = patch.box;
    const alpha = new Uint8Array((right - left) * (bottom - top));
    let index = 0;
    for (const run of patch.runs) alpha.fill(run & 255, index, (index += run >>> 8));
    this.#write(patch.box, alpha);
    this.#drawAlpha(patch.box);
  }

  /** Write into the alpha channel and count painted pixels. @param {Box} box @param {Uint8Array} alpha  of the box @returns whether it changed */
  #write([left, top, right, bottom], alpha) {
    const stored = this.#alpha;
    let changed = false, painted = 0;
    for (let y = top, index = 0; y < bottom; y++) {
      for (let at = y * this.canvas.width + left, end = at + right - left; at < end; at++, index++) {
        const before = stored[at] ?? 0, after = alpha[index] ?? 0;
        if (before === after) continue;
        changed = true;
        painted += Number(after >= PAINTED_ALPHA) - Number(before >= PAINTED_ALPHA);
        stored[at] = after;
      }
    }
    this.#paintedPixels += painted;
    if (changed) this.#file = null;
    if (changed) this.changes++;
    return changed;
  }

  /** Run-length encode a part of the alpha channel: each run's length, with its alpha in the lowest byte. @param {Box} box */
  #encodeRuns([left, top, right, bottom]) {
    /** @type {number[]} */
    const runs = [];
    const stored = this.#alpha;
    let value = -1, length = 0;
    for (let y = top; y < bottom; y++) {
      for (let at = y * this.canvas.width + left, end = at + right - left; at < end; at++) {
        const alpha = stored[at] ?? 0;
        if (alpha === value) length++;
        else {
          if (length) runs.push(((length << 8) | value) >>> 0);
          value = alpha;
          length = 1;
        }
      }
    }
    runs.push(((length << 8) | value) >>> 0);
    return Uint32Array.from(runs);
  }

  /** Draw the stored alpha channel onto the canvas. @param {Box} box */
  #drawAlpha([left, top, right, bottom]) {
    const image = new ImageData(right - left, bottom - top);
    const stored = this.#alpha, data = image.data;
    data.fill(255);
    for (let y = top, index = 3; y < bottom; y++) {
      for (let at = y * this.canvas.width + left, end = at + right - left; at < end; at++, index += 4) data[index] = stored[at] ?? 0;
    }
    this.#context.putImageData(image, left, top);
  }
}
