// The brush and the eraser: strokes by pointer, and a cursor that is moved by keys.

import { t } from "../core/text.js";
import { longerSide } from "./picture.js";

/** @typedef {import("./viewport.js").Point} Point */
/** @typedef {import("./scene.js").EditedPicture} EditedPicture */

const DEFAULT_WIDTH = 0.08, MAX_WIDTH = 0.5; // relative to the picture's longer side
const MIN_WIDTH = 1; // pixels of the picture
const RESIZE_FACTOR = 1.2; // factor per key press
const MIN_PRESSURE_WIDTH = 0.3; // factor on the brush's width at a pen's lightest pressure
const ERASER_BUTTON = 32; // bit of a pen's eraser in PointerEvent.buttons
const ANNOUNCE_DELAY = 400; // milliseconds after the last key press before the cursor's position is announced

export class Brush {
  erasing = false;
  #relativeWidth = DEFAULT_WIDTH; // relative to the picture's longer side
  /** @type {EditedPicture | null} */
  #edited = null;
  /** Where the last stroke ended, the start of a straight line. @type {Point | null} */
  #last = null;
  /** The keyboard's cursor, in pixels of the picture. @type {Point | null} */
  #cursor = null;
  #announceTimer = 0;

  /**
   * @param {import("./scene.js").Scene} scene
   * @param {{onpainted: () => void, announce: (text: string) => void}} callbacks  onpainted: a stroke has ended
   */
  constructor(scene, callbacks) {
    this.scene = scene;
    this.callbacks = callbacks;
  }

  destroy() {
    clearTimeout(this.#announceTimer);
  }

  /** Paint on this picture's mask from now on. @param {EditedPicture | null} edited */
  show(edited) {
    this.#edited?.mask.cancel();
    this.#edited = edited;
    this.#last = null;
    this.hide();
  }

  /** The brush's width, in pixels of the picture. */
  get width() {
    return this.#relativeWidth * this.#longerSide;
  }

  set width(pixels) {
    this.#relativeWidth = Math.min(MAX_WIDTH, Math.max(MIN_WIDTH, pixels) / this.#longerSide);
    this.scene.setBrushWidth(this.width);
  }

  /** The largest width, in pixels of the picture. */
  get maxWidth() {
    return MAX_WIDTH * this.#longerSide;
  }

  get #longerSide() {
    return longerSide(this.#edited?.picture.size ?? { width: 1024, height: 1024 });
  }

  /** @param {1 | -1} direction */
  resize(direction) {
    this.width *= RESIZE_FACTOR ** direction;
  }

  // Pointer: positions are relative to the stage, in CSS pixels.

  /** Begin a stroke; with the Shift key, a straight line from the end of the last stroke. @param {Point} at @param {PointerEvent} event */
  begin(at, event) {
    const mask = this.#edited?.mask;
    if (!mask) return;
    const dab = this.#dabAt(at, event);
    const erases = this.erases(event);
    this.scene.maskHidden = false;
    if (event.pointerType === "touch") this.hide();
    if (event.shiftKey && this.#last) {
      this.scene.requestDraw({ mask: mask.begin({ ...dab, ...this.#last }, erases) });
      this.scene.requestDraw({ mask: mask.extend(dab) });
    } else {
      this.scene.requestDraw({ mask: mask.begin(dab, erases) });
    }
    this.#last = { x: dab.x, y: dab.y };
  }

  /** @param {Point} at @param {PointerEvent} event */
  extend(at, event) {
    const dab = this.#dabAt(at, event);
    this.scene.requestDraw({ mask: this.#edited?.mask.extend(dab) });
    this.#last = { x: dab.x, y: dab.y };
  }

  end() {
    if (!this.#edited?.mask.painting) return;
    this.scene.requestDraw({ mask: this.#edited.mask.end() });
    this.callbacks.onpainted();
  }

  /** Undo the unfinished stroke. */
  cancel() {
    this.#edited?.mask.cancel();
    this.#last = null;
    this.scene.requestDraw({ mask: "all" });
  }

  /** @param {Point} at */
  hover(at) {
    this.#cursor = null;
    this.scene.showBrush({ at: this.scene.view.toPicture(at), width: this.width, byKeyboard: false });
  }

  /** Hide the brush's cursor. */
  hide() {
    this.#cursor = null;
    this.scene.showBrush(null);
  }

  /** Whether a press subtracts: in the eraser mode, with the Alt key, or with a pen's other end. @param {PointerEvent} event */
  erases({ altKey, pointerType, buttons }) {
    return this.erasing || altKey || (pointerType === "pen" && (buttons & ERASER_BUTTON) > 0);
  }

  /** The keyboard's cursor, in pixels of the picture; null: there is none. */
  get cursor() {
    return this.#cursor;
  }

  /** @param {Point} at @param {PointerEvent} event */
  #dabAt(at, { pointerType, pressure }) {
    const factor = pointerType === "pen" ? MIN_PRESSURE_WIDTH + (1 - MIN_PRESSURE_WIDTH) * pressure : 1;
    return { ...this.scene.view.toPicture(at), width: this.width * factor };
  }

  // Keyboard

  /** Move the cursor; at first it appears in the centre. @param {number} x @param {number} y  in CSS pixels */
  moveCursor(x, y) {
    if (!this.#edited) return;
    const { width, height } = this.#edited.picture.size;
    const { scale } = this.scene.view;
    const clamp = (/** @type {number} */ at, /** @type {number} */ max) => Math.min(max, Math.max(0, at));
    const before = this.#cursor;
    const at = before
      ? { x: clamp(before.x + x / scale, width), y: clamp(before.y + y / scale, height) }
      : { x: width / 2, y: height / 2 };
    this.#cursor = at;
    this.scene.scrollTo(at);
    this.scene.showBrush({ at, width: this.width, byKeyboard: true });
    clearTimeout(this.#announceTimer);
    this.#announceTimer = window.setTimeout(() => this.callbacks.announce(t("editor.said.at", { x: Math.round(at.x), y: Math.round(at.y) })), ANNOUNCE_DELAY);
  }

  /** Paint a dab at the cursor. */
  paintAtCursor() {
    const mask = this.#edited?.mask;
    if (!mask || !this.#cursor || mask.painting) return;
    this.scene.maskHidden = false;
    this.scene.requestDraw({ mask: mask.begin({ ...this.#cursor, width: this.width }, this.erasing) });
    mask.end();
    this.#last = this.#cursor;
    this.callbacks.announce(t(this.erasing ? "editor.said.erased" : "editor.said.painted"));
    this.callbacks.onpainted();
  }
}
