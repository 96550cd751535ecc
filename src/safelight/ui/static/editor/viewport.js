// Scale and position of the picture on the stage: fit, zoom, pan.

/** @typedef {{left: number, top: number, width: number, height: number}} Area  in pixels of the picture, relative to its top left corner */
/** @typedef {{x: number, y: number}} Point */

const MAX_SCALE = 16; // CSS pixels per pixel of the picture
const MIN_SCALE = 0.5; // relative to the scale at which the picture fits
const MIN_VISIBLE = 40; // CSS pixels of the picture that stay on the stage

export class Viewport {
  /** Size of the stage, in CSS pixels. */
  width = 0;
  height = 0;
  /** CSS pixels per pixel of the picture. */
  scale = 1;
  /** Position of the picture's top left corner on the stage. */
  x = 0;
  y = 0;
  /** Whether the whole picture is fitted to the stage, also after changes. */
  fitted = true;

  /** Fit an area into the stage. @param {Area} area @param {number} margin  in CSS pixels */
  fit(area, margin) {
    this.fitted = true;
    this.scale = this.#fitScale(area, margin);
    this.x = (this.width - area.width * this.scale) / 2 - area.left * this.scale;
    this.y = (this.height - area.height * this.scale) / 2 - area.top * this.scale;
  }

  /** Pan and zoom out just enough for an area to be visible. @param {Area} area @param {number} margin */
  includeArea(area, margin) {
    this.scale = Math.min(this.scale, this.#fitScale(area, margin));
    const { left, top, right, bottom } = this.edges(area);
    this.x += Math.max(0, margin - left) - Math.max(0, right - (this.width - margin));
    this.y += Math.max(0, margin - top) - Math.max(0, bottom - (this.height - margin));
  }

  /** @param {number} factor @param {Point} at  what stays where it is, on the stage @param {Area} area */
  zoom(factor, at, area) {
    const fitting = this.#fitScale(area, 0);
    const scale = Math.min(Math.max(MAX_SCALE, fitting), Math.max(fitting * MIN_SCALE, this.scale * factor));
    this.x = at.x - ((at.x - this.x) / this.scale) * scale;
    this.y = at.y - ((at.y - this.y) / this.scale) * scale;
    this.scale = scale;
    this.move(0, 0, area);
  }

  /** @param {number} x @param {number} y  in CSS pixels @param {Area} area  a part of it stays visible */
  move(x, y, area) {
    this.fitted = false;
    this.x += x;
    this.y += y;
    const { left, top, right, bottom } = this.edges(area);
    this.x += Math.max(0, MIN_VISIBLE - right) - Math.max(0, left - (this.width - MIN_VISIBLE));
    this.y += Math.max(0, MIN_VISIBLE - bottom) - Math.max(0, top - (this.height - MIN_VISIBLE));
  }

  /** The edges of an area on the stage. @param {Area} area */
  edges({ left, top, width, height }) {
    const x = this.x + left * this.scale, y = this.y + top * this.scale;
    return { left: x, top: y, right: x + width * this.scale, bottom: y + height * this.scale };
  }

  /** Convert a point of the stage to pixels of the picture. @param {Point} at @returns {Point} */
  toPicture({ x, y }) {
    return { x: (x - this.x) / this.scale, y: (y - this.y) / this.scale };
  }

  /** @param {Area} area @param {number} margin */
  #fitScale({ width, height }, margin) {
    const available = (/** @type {number} */ side) => Math.max(1, side - 2 * margin);
    return Math.min(available(this.width) / width, available(this.height) / height);
  }
}
