// The stage: picture, mask, brush and handles as they are now, drawn anew once a frame and only where something changed.

import { h } from "../core/dom.js";
import { union } from "./box.js";
import { anySide, areaOf } from "./handles.js";
import { Screen } from "./screen.js";
import { View } from "./view.js";

/** @typedef {import("./box.js").Box} Box */
/** @typedef {import("./view.js").Point} Point */
/** @typedef {{picture: import("./picture.js").Decoded, mask: import("./mask.js").Mask, sides: import("./handles.js").Sides}} Sheet  what is being edited */

const MARGIN = 12, ROOM = 0.17; // around the picture: pixels of the screen; share of the stage, for edges to be drawn out
const COLOUR = "--sl-accent"; // of the mask

export class Scene {
  /** @type {Sheet | null} */
  #sheet = null;
  view = new View();
  #screen = new Screen();
  #veiled = false; // whether the mask is hidden
  #roomy = false;
  #colour = "";
  /** Of the brush: where it is, in pixels of the picture. @type {{at: Point, width: number, keyed: boolean} | null} */
  #brush = null;
  /** What is to be drawn in the next frame. @type {{frame: number, resize: boolean, picture: boolean, mask: Box | "all" | null}} */
  #due = { frame: 0, resize: false, picture: false, mask: null };

  /**
   * @param {import("./handles.js").Handles} handles
   * @param {string} help  id of the element that says how to use the stage
   */
  constructor(handles, help) {
    this.handles = handles;
    this.hatched = h("div", { class: "sl-editor-area", hidden: true });
    this.ring = h("div", { class: "sl-editor-ring", hidden: true });
    this.stage = h(
      "div",
      { class: "sl-editor-stage", role: "application", tabindex: 0, "aria-describedby": help },
      this.hatched, this.#screen.picture, this.#screen.mask, this.ring,
    );
    this.element = h("div", { class: "sl-editor-frame" }, this.stage, handles.element);
    this.resizes = new ResizeObserver(() => this.draw({ resize: true }));
    this.resizes.observe(this.stage);
    this.looks = new MutationObserver(() => this.draw({ mask: "all" })); // light or dark
    for (const each of [document.documentElement, document.body]) this.looks.observe(each, { attributeFilter: ["class"] });
  }

  destroy() {
    this.resizes.disconnect();
    this.looks.disconnect();
    cancelAnimationFrame(this.#due.frame);
  }

  /** @param {Sheet | null} sheet */
  show(sheet) {
    this.#sheet = sheet;
    this.#veiled = this.#roomy = false;
    this.#brush = null;
    this.view.fitted = true;
    const { width, height } = sheet?.picture.size ?? { width: 1, height: 1 };
    this.stage.style.aspectRatio = `${width} / ${height}`;
    this.draw({ resize: true });
  }

  /** Whether there is no mask to be seen. */
  get veiled() {
    return this.#veiled;
  }

  set veiled(veiled) {
    if (veiled === this.#veiled) return;
    this.#veiled = veiled;
    this.draw({ mask: "all" });
  }

  /** Whether there is room around the picture for edges to be drawn out, and their handles. */
  get roomy() {
    return this.#roomy;
  }

  set roomy(roomy) {
    this.handles.element.hidden = !roomy;
    if (roomy === this.#roomy) return;
    this.#roomy = roomy;
    if (this.view.fitted) this.fit();
  }

  /** The picture and what is drawn out of it. */
  get area() {
    const sheet = this.#sheet;
    return sheet ? areaOf(sheet.sides, sheet.picture.size) : { left: 0, top: 0, width: 1, height: 1 };
  }

  /** Show all of it. */
  fit() {
    const room = ROOM * Math.min(this.view.width, this.view.height);
    this.view.fit(this.area, this.#roomy ? Math.max(3 * MARGIN, room) : MARGIN);
    this.draw({ picture: true });
  }

  /** An edge was drawn out, and goes on being: keep it in sight without a leap. */
  follow() {
    if (this.view.fitted) this.view.follow(this.area, 2 * MARGIN);
    this.draw({ picture: true });
  }

  /** @param {number} x @param {number} y  pixels of the screen */
  move(x, y) {
    if (x === 0 && y === 0) return;
    this.view.move(x, y, this.area);
    this.draw({ picture: true });
  }

  /** @param {number} by @param {Point} [at]  What stays where it is; the stage's middle. */
  zoom(by, at = { x: this.view.width / 2, y: this.view.height / 2 }) {
    this.view.zoom(by, at, this.area);
    this.draw({ picture: true });
  }

  /** Bring a point of the picture onto the stage. @param {Point} at */
  reveal({ x, y }) {
    if (this.view.fitted) return;
    const missing = (/** @type {number} */ place, /** @type {number} */ most) => Math.min(most, Math.max(0, place)) - place;
    this.move(missing(this.view.x + x * this.view.scale, this.view.width), missing(this.view.y + y * this.view.scale, this.view.height));
  }

  /**
   * Show where the brush is and how large; null: nowhere.
   * @param {{at: Point, width: number, keyed: boolean} | null} brush  keyed: moved by keys, and so easier to find
   */
  point(brush) {
    this.#brush = brush;
    this.ring.hidden = !brush;
    if (!brush) return;
    const { x, y, scale } = this.view;
    this.ring.classList.toggle("sl-keyed", brush.keyed);
    this.ring.style.translate = `${x + brush.at.x * scale}px ${y + brush.at.y * scale}px`;
    this.ring.style.width = this.ring.style.height = `${brush.width * scale}px`;
  }

  /** The brush has another size. @param {number} width */
  widen(width) {
    if (this.#brush) this.point({ ...this.#brush, width });
  }

  /** Draw in the next frame. @param {{resize?: boolean, picture?: boolean, mask?: Box | "all" | null}} what  mask: where, in pixels of the picture */
  draw({ resize = false, picture = false, mask = null }) {
    const due = this.#due;
    due.resize ||= resize;
    due.picture ||= picture || resize;
    due.mask = due.mask === "all" || mask === "all" || due.picture ? "all" : union(due.mask, mask);
    due.frame ||= requestAnimationFrame(() => this.#frame());
  }

  #frame() {
    const due = this.#due;
    if (due.resize && !this.#measure()) return void (due.frame = 0); // not in sight; it is measured again when it is
    const { picture, mask } = due;
    this.#due = { frame: 0, resize: false, picture: false, mask: null };
    const sheet = this.#sheet;
    if (!sheet) return this.#screen.clear();
    if (picture) {
      this.#screen.drawPicture(this.view, sheet.picture);
      this.#place(sheet);
    }
    if (mask === "all") this.#colour = getComputedStyle(this.stage).getPropertyValue(COLOUR).trim();
    if (this.#veiled || (sheet.mask.empty && !sheet.mask.painting)) this.#screen.clearMask();
    else if (mask) this.#screen.drawMask(this.view, sheet.mask, this.#colour, mask === "all" ? null : mask);
  }

  /** Take on the stage's size. @returns whether it has one */
  #measure() {
    const { clientWidth, clientHeight } = this.stage;
    if (!clientWidth || !clientHeight) return false;
    [this.view.width, this.view.height] = [clientWidth, clientHeight];
    this.#screen.resize(this.view);
    if (this.view.fitted) this.fit();
    return true;
  }

  /** Put what is no canvas where it belongs. @param {Sheet} sheet */
  #place({ sides, picture }) {
    const { left, top, right, bottom } = this.view.edges(this.area);
    Object.assign(this.hatched.style, { translate: `${left}px ${top}px`, width: `${right - left}px`, height: `${bottom - top}px` });
    this.hatched.hidden = !anySide(sides);
    this.handles.update({ sides, size: picture.size, view: this.view });
    this.point(this.#brush);
  }
}
