// A picture decoded for the editor, with a mipmap of smaller copies so that it is drawn fast at every zoom.

import { h } from "../core/dom.js";

/** @typedef {{width: number, height: number}} Size */
/** @typedef {{blob: Blob, size: Size, levels: ImageBitmap[]}} DecodedPicture  levels: the largest first */

const MAX_SIDE = 4096; // longer side of the largest level, pixels
const MIN_LEVEL_SIDE = 1024; // longer side below which there are no further levels, pixels

/**
 * Decode a picture, upright according to its EXIF orientation.
 * @param {Blob} blob
 * @returns {Promise<DecodedPicture>}
 * @throws {DOMException}  the browser cannot decode it
 */
export async function decode(blob) {
  const bitmap = await createImageBitmap(blob);
  const size = { width: bitmap.width, height: bitmap.height };
  let level = await shrink(bitmap, MAX_SIDE / longerSide(size));
  if (level !== bitmap) bitmap.close();
  const levels = [level];
  while (longerSide(level) > MIN_LEVEL_SIDE) levels.push((level = await shrink(level, 1 / 2)));
  return { blob, size, levels };
}

/**
 * The smallest level that is not upscaled.
 * @param {ImageBitmap[]} levels
 * @param {number} width  width on the screen, in device pixels
 */
export const levelFor = (levels, width) => levels.findLast((level) => level.width >= width) ?? levels[0];

/** A picture's colours scaled to a size, on white, RGBA. @param {DecodedPicture} picture @param {Size} size @returns {Uint8ClampedArray} */
export function coloursOf({ levels }, { width, height }) {
  const context = context2d(h("canvas", { width, height }));
  context.fillStyle = "#fff";
  context.fillRect(0, 0, width, height);
  const level = levelFor(levels, width);
  if (level) context.drawImage(level, 0, 0, width, height);
  return context.getImageData(0, 0, width, height).data;
}

/** A 2D context for frequent readback: the browser keeps its pixels in main memory. @param {HTMLCanvasElement} canvas */
export function context2d(canvas) {
  const context = canvas.getContext("2d", { willReadFrequently: true });
  if (!context) throw new Error("This browser gives no canvas.");
  return context;
}

/** @param {ImageBitmap} image @param {number} scale  scale factor; 1 or more returns the image itself */
async function shrink(image, scale) {
  if (scale >= 1) return image;
  const resizeWidth = Math.max(1, Math.round(image.width * scale)), resizeHeight = Math.max(1, Math.round(image.height * scale));
  return createImageBitmap(image, { resizeWidth, resizeHeight, resizeQuality: "medium" });
}

/** @param {Size} size */
export const longerSide = ({ width, height }) => Math.max(width, height);
