// The stage: picture, mask, brush and handles, redrawn at most once per frame and only where something has changed.

import { h } from "../core/dom.js";
import { union } from "./box.js";
import { expandedArea, isExpanded } from "./handles.js";
import { LayerRenderer } from "./layer_renderer.js";
import { ResultLayer } from "./result_layer.js";
import { Viewport } from "./viewport.js";

/** @typedef {import("./box.js").Box} Box */
/** @typedef {import("./viewport.js").Point} Point */
/** @typedef {{picture: import("./picture.js").DecodedPicture, mask: import("./mask.js").Mask, sides: import("./handles.js").Sides}} EditedPicture  what is being edited */

const MARGIN = 12, EXPAND_MARGIN = 0.17; // around the picture: CSS pixels; fraction of the stage, while its sides can be extended
const SVG = "http://www.w3.org/2000/svg";
const COLOUR_VARIABLE = "--sl-accent"; // colour of the mask

export class Scene {
  /** @type {EditedPicture | null} */
  #edited = null;
  view = new Viewport();
  result = new ResultLayer();
  #layers = new LayerRenderer();
  /** The lasso's area so far, in pixels of the picture. @type {Point[]} */
  #outline = [];
  #maskHidden = false; // whether the user has hidden the mask
  #expanding = false;
  #colour = "";
  /** The brush's cursor, in pixels of the picture. @type {{at: Point, width: number, byKeyboard: boolean} | null} */
  #brush = null;
  /** What to draw in the next frame. @type {{frame: number, resize: boolean, picture: boolean, mask: Box | "all" | null}} */
  #pending = { frame: 0, resize: false, picture: false, mask: null };

  /**
   * @param {import("./handles.js").Handles} handles
   * @param {string} help  id of the element that explains the stage
   */
  constructor(handles, help) {
    this.handles = handles;
    this.outpaintArea = h("div", { class: "sl-editor-area", hidden: true });
    this.brushCursor = h("div", { class: "sl-editor-ring", hidden: true });
    const outline = document.createElementNS(SVG, "svg");
    outline.setAttribute("class", "sl-editor-outline");
    outline.setAttribute("aria-hidden", "true");
    this.outlinePaths = ["dark", "light"].map((name) => {
      const path = outline.appendChild(document.createElementNS(SVG, "path"));
      path.setAttribute("class", `sl-${name}`);
      return path;
    });
    this.stage = h(
      "div",
      { class: "sl-editor-stage", role: "application", tabindex: 0, "aria-describedby": help },
      this.outpaintArea, this.#layers.picture, this.#layers.mask, this.result.element, outline, this.brushCursor,
    );
    this.element = h("div", { class: "sl-editor-frame" }, this.stage, handles.element);
    this.resizeObserver = new ResizeObserver(() => this.requestDraw({ resize: true }));
    this.resizeObserver.observe(this.stage);
    this.themeObserver = new MutationObserver(() => this.requestDraw({ mask: "all" })); // the light or dark theme has changed
    for (const each of [document.documentElement, document.body]) this.themeObserver.observe(each, { attributeFilter: ["class"] });
  }

  destroy() {
    this.resizeObserver.disconnect();
    this.themeObserver.disconnect();
    cancelAnimationFrame(this.#pending.frame);
  }

  /** @param {EditedPicture | null} edited */
  show(edited) {
    this.#edited = edited;
    this.#maskHidden = this.#expanding = false;
    this.#brush = null;
    this.view.fitted = true;
    this.requestDraw({ resize: true });
  }

  /** Whether the mask is hidden. */
  get maskHidden() {
    return this.#maskHidden;
  }

  set maskHidden(hidden) {
    if (hidden === this.#maskHidden) return;
    this.#maskHidden = hidden;
    this.requestDraw({ mask: "all" });
  }

  /** Whether there is a margin around the picture for extensions and their handles. */
  get expanding() {
    return this.#expanding;
  }

  set expanding(roomy) {
    this.handles.element.hidden = !roomy;
    if (roomy === this.#expanding) return;
    this.#expanding = roomy;
    if (this.view.fitted) this.fit();
  }

  /** The picture with its extensions. */
  get area() {
    const edited = this.#edited;
    return edited ? expandedArea(edited.sides, edited.picture.size) : { left: 0, top: 0, width: 1, height: 1 };
  }

  /** Zoom so that all of it is visible. */
  fit() {
    const margin = EXPAND_MARGIN * Math.min(this.view.width, this.view.height);
    this.view.fit(this.area, this.#expanding ? Math.max(3 * MARGIN, margin) : MARGIN);
    this.requestDraw({ picture: true });
  }

  /** A side is being dragged: keep it visible without a jump. */
  keepInView() {
    if (this.view.fitted) this.view.includeArea(this.area, 2 * MARGIN);
    this.requestDraw({ picture: true });
  }

  /** @param {number} x @param {number} y  in CSS pixels */
  move(x, y) {
    if (x === 0 && y === 0) return;
    this.view.move(x, y, this.area);
    this.requestDraw({ picture: true });
  }

  /** @param {number} factor @param {Point} [at]  the fixed point; default: the centre of the stage */
  zoom(factor, at = { x: this.view.width / 2, y: this.view.height / 2 }) {
    this.view.zoom(factor, at, this.area);
    this.requestDraw({ picture: true });
  }

  /** Scroll a point of the picture into view. @param {Point} at */
  scrollTo({ x, y }) {
    if (this.view.fitted) return;
    const missing = (/** @type {number} */ position, /** @type {number} */ max) => Math.min(max, Math.max(0, position)) - position;
    this.move(missing(this.view.x + x * this.view.scale, this.view.width), missing(this.view.y + y * this.view.scale, this.view.height));
  }

  /**
   * Show the brush's cursor, or hide it (null).
   * @param {{at: Point, width: number, byKeyboard: boolean} | null} brush  byKeyboard: it is moved by keys, and so drawn more prominently
   */
  showBrush(brush) {
    this.#brush = brush;
    this.brushCursor.hidden = !brush;
    if (!brush) return;
    const { x, y, scale } = this.view;
    this.brushCursor.classList.toggle("sl-keyed", brush.byKeyboard);
    this.brushCursor.style.translate = `${x + brush.at.x * scale}px ${y + brush.at.y * scale}px`;
    this.brushCursor.style.width = this.brushCursor.style.height = `${brush.width * scale}px`;
  }

  /** Show the lasso's area so far. @param {Point[]} corners  in pixels of the picture; none: hide it */
  showOutline(corners) {
    this.#outline = corners;
    const { x, y, scale } = this.view;
    const d = corners.map((corner, at) => `${at ? "L" : "M"}${(x + corner.x * scale).toFixed(1)} ${(y + corner.y * scale).toFixed(1)}`).join("");
    for (const path of this.outlinePaths) path.setAttribute("d", d);
  }

  /** Show a result over the picture, or none. @param {Parameters<ResultLayer["show"]>[0] | null} result */
  showResult(result) {
    if (result) this.result.show(result);
    else this.result.hide();
    this.result.place(this.view, this.area);
  }

  /** The brush's width has changed. @param {number} width */
  setBrushWidth(width) {
    if (this.#brush) this.showBrush({ ...this.#brush, width });
  }

  /** Redraw in the next frame. @param {{resize?: boolean, picture?: boolean, mask?: Box | "all" | null}} what  mask: its changed part, in pixels of the picture */
  requestDraw({ resize = false, picture = false, mask = null }) {
    const pending = this.#pending;
    pending.resize ||= resize;
    pending.picture ||= picture || resize;
    pending.mask = pending.mask === "all" || mask === "all" || pending.picture ? "all" : union(pending.mask, mask);
    pending.frame ||= requestAnimationFrame(() => this.#drawFrame());
  }

  #drawFrame() {
    const pending = this.#pending;
    if (pending.resize && !this.#measure()) return void (pending.frame = 0); // hidden; the ResizeObserver requests it again when it becomes visible
    const { picture, mask } = pending;
    this.#pending = { frame: 0, resize: false, picture: false, mask: null };
    const edited = this.#edited;
    if (!edited) return this.#layers.clear();
    if (picture) {
      this.#layers.drawPicture(this.view, edited.picture);
      this.#placeOverlays(edited);
    }
    if (mask === "all") this.#colour = getComputedStyle(this.stage).getPropertyValue(COLOUR_VARIABLE).trim();
    if (this.#maskHidden || (edited.mask.empty && !edited.mask.painting)) this.#layers.clearMask();
    else if (mask) this.#layers.drawMask(this.view, edited.mask, this.#colour, mask === "all" ? null : mask);
  }

  /** Take the stage's size. @returns whether it is visible */
  #measure() {
    const { clientWidth, clientHeight } = this.stage;
    if (!clientWidth || !clientHeight) return false;
    [this.view.width, this.view.height] = [clientWidth, clientHeight];
    this.#layers.resize(this.view);
    if (this.view.fitted) this.fit();
    return true;
  }

  /** Position the elements above the canvases. @param {EditedPicture} edited */
  #placeOverlays({ sides, picture }) {
    const { left, top, right, bottom } = this.view.edges(this.area);
    Object.assign(this.outpaintArea.style, { translate: `${left}px ${top}px`, width: `${right - left}px`, height: `${bottom - top}px` });
    this.outpaintArea.hidden = !isExpanded(sides);
    this.handles.update({ sides, size: picture.size, view: this.view });
    this.result.place(this.view, this.area);
    this.showOutline(this.#outline);
    this.showBrush(this.#brush);
  }
}
