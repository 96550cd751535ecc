// The size in which an edited picture is generated: the choices, and what each of them means.

import { numberControl } from "../controls.js";

/** @typedef {import("./picture.js").Size} Size */
/** @typedef {{name: string, size: Size}} SizeChoice  name: own, checkpoint, or a factor such as 0.5 */

const FACTORS = [0.25, 0.5, 0.75, 1.5, 2, 4];
const AREA_FACTOR = 1.5; // a checkpoint's own area times this is still a good size
const SHAPE_TOLERANCE = 0.02; // relative difference of two aspect ratios that counts as none

/**
 * The sizes to choose from for a picture; each is snapped to the checkpoint's multiple and within the request's limits.
 * @param {Size} picture  with its extensions
 * @param {import("../types").GenerationDefaults | null} [checkpoint]
 * @returns {SizeChoice[]}  the first one is the default
 */
export function sizeChoices(picture, checkpoint) {
  const [width, height] = [numberControl("width"), numberControl("height")];
  const multiple = checkpoint?.size_multiple ?? 8;
  const snap = (/** @type {number} */ scale) => ({ width: nearest(picture.width * scale, multiple, width.minimum), height: nearest(picture.height * scale, multiple, height.minimum) });
  const goodArea = (checkpoint?.width ?? width.initial) * (checkpoint?.height ?? height.initial) * AREA_FACTOR;
  const limit = Math.min(width.maximum / picture.width, height.maximum / picture.height);
  const good = Math.min(1, limit, Math.sqrt(goodArea / (picture.width * picture.height)));
  const scaled = FACTORS.map((factor) => ({ name: String(factor), size: snap(factor) }));
  const choices = [{ name: good === 1 ? "own" : "checkpoint", size: snap(good) }, { name: "own", size: snap(1) }, ...scaled];
  const isAllowed = (/** @type {SizeChoice} */ { size }) => size.width <= width.maximum && size.height <= height.maximum;
  return choices.filter((choice, at) => isAllowed(choice) && choices.findIndex(({ size }) => sameSize(size, choice.size)) === at);
}

/** The part of an area that has a result's shape: the largest one, in its centre. @param {import("./viewport.js").Area} area @param {Size} size @returns {import("./viewport.js").Area} */
export function resultBox({ left, top, width, height }, size) {
  const scale = Math.min(width / size.width, height / size.height);
  const [boxWidth, boxHeight] = [size.width * scale, size.height * scale];
  return { left: left + (width - boxWidth) / 2, top: top + (height - boxHeight) / 2, width: boxWidth, height: boxHeight };
}

/** @param {Size} one @param {Size} other */
export const sameSize = (one, other) => one.width === other.width && one.height === other.height;
/** Whether two sizes have about the same aspect ratio. @param {Size} one @param {Size} other */
export const sameShape = (one, other, tolerance = SHAPE_TOLERANCE) => Math.abs((one.width / one.height) * (other.height / other.width) - 1) < tolerance;

/** @param {number} length @param {number} multiple @param {number} minimum */
const nearest = (length, multiple, minimum) => Math.max(Math.ceil(minimum / multiple), Math.round(length / multiple)) * multiple;
