// The mask of a region that is a rectangle.

import { h } from "../core/dom.js";
import { context2d } from "../editor/picture.js";

/** @param {import("./list.js").Box} box @param {import("./list.js").Size} size  of the picture, in pixels @returns {Promise<Blob>}  white in the box */
export function maskOf({ left, top, right, bottom }, { width, height }) {
  const canvas = h("canvas", { width, height });
  const context = context2d(canvas);
  context.fillRect(0, 0, width, height);
  context.fillStyle = "#fff";
  const [x, y] = [Math.round(left * width), Math.round(top * height)];
  context.fillRect(x, y, Math.round(right * width) - x, Math.round(bottom * height) - y);
  return new Promise((resolve, reject) => canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error(`No mask of ${width} × ${height} pixels.`))), "image/png"));
}
