// Regions drawn in their colours, for the frame in the form and for the pictures on the stage.

import { h } from "../core/dom.js";

/** @typedef {import("./list.js").Region} Region */

const LONGER_SIDE = 512; // pixels of the drawing
const OPACITY = 0.45;
/** Colours of the regions, in their order. */
const COLOURS = ["#e4572e", "#1aa7c4", "#f2b705", "#8a5bd6", "#5fae3c", "#2f6fed", "#e0529c", "#8d6a4f"];

/** @param {number} index */
export const colourOf = (index) => COLOURS[index % COLOURS.length];

/** Decoded masks. @type {WeakMap<Blob, Promise<ImageBitmap>>} */
const decoded = new WeakMap();

/**
 * Draw regions.
 * @param {readonly Region[]} regions
 * @param {{width: number, height: number}} size  of the picture
 * @returns {Promise<Blob | null>}  a picture of its proportions, transparent where no region is; null: there are none
 */
export async function drawRegions(regions, { width, height }) {
  const scale = LONGER_SIDE / Math.max(width, height);
  const canvas = h("canvas", { width: Math.max(1, Math.round(width * scale)), height: Math.max(1, Math.round(height * scale)) });
  const scratch = h("canvas", { width: canvas.width, height: canvas.height });
  const context = canvas.getContext("2d"), own = scratch.getContext("2d", { willReadFrequently: true });
  if (!context || !own || !regions.length) return null;
  const masks = await Promise.all(regions.map(({ mask }) => mask && bitmapOf(mask)));
  regions.forEach(({ box }, index) => {
    const mask = masks[index];
    context.globalAlpha = OPACITY;
    context.fillStyle = colourOf(index);
    if (mask) context.drawImage(tinted(own, mask, colourOf(index)), 0, 0);
    else if (box) context.fillRect(box.left * canvas.width, box.top * canvas.height, (box.right - box.left) * canvas.width, (box.bottom - box.top) * canvas.height);
  });
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}

/** A mask in a colour: opaque where it is white. @param {CanvasRenderingContext2D} context  of a canvas in the wanted size @param {ImageBitmap} mask @param {string} colour */
function tinted(context, mask, colour) {
  const { canvas } = context;
  context.globalCompositeOperation = "copy";
  context.drawImage(mask, 0, 0, canvas.width, canvas.height);
  const image = context.getImageData(0, 0, canvas.width, canvas.height);
  for (let at = 0; at < image.data.length; at += 4) image.data[at + 3] = (image.data[at] * image.data[at + 3]) / 255;
  context.putImageData(image, 0, 0);
  context.globalCompositeOperation = "source-in";
  context.fillStyle = colour;
  context.fillRect(0, 0, canvas.width, canvas.height);
  return canvas;
}

/** @param {Blob} mask */
function bitmapOf(mask) {
  const made = decoded.get(mask) ?? createImageBitmap(mask);
  decoded.set(mask, made);
  return made;
}
