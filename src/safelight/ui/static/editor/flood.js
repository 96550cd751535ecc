// The connected region around a pixel: a scanline flood fill.

/**
 * @param {{width: number, height: number}} size
 * @param {number} start  index of a pixel, row by row
 * @param {(index: number) => boolean} belongs  whether a pixel may be part of the region
 * @returns {Uint8Array}  1 for each pixel of the region; all 0 if the start does not belong to it
 */
export function floodRegion({ width, height }, start, belongs) {
  const inside = new Uint8Array(width * height);
  const pending = [start];
  for (let index = pending.pop(); index !== undefined; index = pending.pop()) {
    if (inside[index] || !belongs(index)) continue;
    const first = index - (index % width), last = first + width - 1;
    let left = index, right = index;
    while (left > first && !inside[left - 1] && belongs(left - 1)) left--;
    while (right < last && !inside[right + 1] && belongs(right + 1)) right++;
    inside.fill(1, left, right + 1);
    for (const by of [-width, width]) {
      let continues = false; // one entry for each run of pixels
      for (let at = left + by; at <= right + by; at++) {
        const isFree = at >= 0 && at < inside.length && !inside[at] && belongs(at);
        if (isFree && !continues) pending.push(at);
        continues = isFree;
      }
    }
  }
  return inside;
}
