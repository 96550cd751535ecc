// How large pictures are on the stage, and in how many columns.

/** @typedef {{width: number, height: number}} Size */

export const MAX_ENLARGEMENT = 2; // screen pixels of a picture's pixel, in each direction, unless the user wants the picture to fill the stage

/**
 * The columns in which pictures of one size are largest.
 * @param {number} count
 * @param {Size} picture  its size in pixels
 * @param {Size} area  CSS pixels
 * @param {number} gap  CSS pixels between two pictures
 * @param {number} [maxScale]  CSS pixels of a picture's pixel; Infinity: as large as the area allows
 * @returns {{columns: number, scale: number}}  scale: CSS pixels of a picture's pixel
 */
export function arrange(count, picture, area, gap, maxScale = Infinity) {
  let best = { columns: 1, scale: 0 };
  for (let columns = 1; columns <= count; columns++) {
    const rows = Math.ceil(count / columns);
    const across = (area.width - gap * (columns - 1)) / columns / picture.width;
    const down = (area.height - gap * (rows - 1)) / rows / picture.height;
    const scale = Math.min(across, down, maxScale);
    if (scale > best.scale) best = { columns, scale };
  }
  return best;
}
