// Rectangles in pixels, integer or fractional: left, top, right, bottom; right and bottom are exclusive.

/** @typedef {[left: number, top: number, right: number, bottom: number]} Box */

/** The smallest box that contains both. @param {Box | null} one @param {Box | null} other @returns {Box | null} */
export function union(one, other) {
  if (!one || !other) return one ?? other;
  return [Math.min(one[0], other[0]), Math.min(one[1], other[1]), Math.max(one[2], other[2]), Math.max(one[3], other[3])];
}

/**
 * The whole pixels of a canvas that a box touches, or null if it is outside the canvas.
 * @param {Box} box @param {{width: number, height: number}} canvas @param {number} [margin]  pixels to add on every side
 * @returns {Box | null}
 */
export function clip([left, top, right, bottom], { width, height }, margin = 0) {
  /** @type {Box} */
  const box = [
    Math.max(0, Math.floor(left) - margin), Math.max(0, Math.floor(top) - margin),
    Math.min(width, Math.ceil(right) + margin), Math.min(height, Math.ceil(bottom) + margin),
  ];
  return box[0] < box[2] && box[1] < box[3] ? box : null;
}
