// The brush and the eraser: strokes of a pointer, and a cursor that keys move.

import { t } from "../core/text.js";
import { longer } from "./picture.js";

/** @typedef {import("./view.js").Point} Point */
/** @typedef {import("./scene.js").Sheet} Sheet */

const USUAL = 0.08, WIDEST = 0.5; // of the picture's longer side
const THINNEST = 1; // pixels of the picture
const GROWTH = 1.2; // by one key
const LIGHTEST = 0.3; // of the brush's size, under a pen that hardly presses
const ERASER = 32; // among a pen's buttons
const SPEAKS = 400; // milliseconds of rest until the cursor's place is said

export class Brush {
  erases = false;
  #share = USUAL; // its size, of the picture's longer side
  /** @type {Sheet | null} */
  #sheet = null;
  /** Where the last stroke ended, for straight lines. @type {Point | null} */
  #last = null;
  /** Of the keyboard, in pixels of the picture. @type {Point | null} */
  #cursor = null;
  #speaking = 0;

  /**
   * @param {import("./scene.js").Scene} scene
   * @param {{painted: () => void, say: (text: string) => void}} told  painted: a stroke has ended
   */
  constructor(scene, told) {
    this.scene = scene;
    this.told = told;
  }

  destroy() {
    clearTimeout(this.#speaking);
  }

  /** Paint on this from now on. @param {Sheet | null} sheet */
  show(sheet) {
    this.#sheet?.mask.cancel();
    this.#sheet = sheet;
    this.#last = null;
    this.hide();
  }

  /** Its size, in pixels of the picture. */
  get width() {
    return this.#share * this.#side;
  }

  set width(pixels) {
    this.#share = Math.min(WIDEST, Math.max(THINNEST, pixels) / this.#side);
    this.scene.widen(this.width);
  }

  /** What width can be at most. */
  get widest() {
    return WIDEST * this.#side;
  }

  get #side() {
    return longer(this.#sheet?.picture.size ?? { width: 1024, height: 1024 });
  }

  /** @param {1 | -1} way */
  grow(way) {
    this.width *= GROWTH ** way;
  }

  // -- by pointer; places are on the stage, in pixels of the screen

  /** Begin a stroke; with the shift key, as a straight line from the last one's end. @param {Point} at @param {PointerEvent} event */
  begin(at, event) {
    const mask = this.#sheet?.mask;
    if (!mask) return;
    const dab = this.#dab(at, event);
    const erases = this.erases || (event.pointerType === "pen" && (event.buttons & ERASER) > 0);
    this.scene.veiled = false;
    if (event.pointerType === "touch") this.hide();
    if (event.shiftKey && this.#last) {
      this.scene.draw({ mask: mask.begin({ ...dab, ...this.#last }, erases) });
      this.scene.draw({ mask: mask.extend(dab) });
    } else {
      this.scene.draw({ mask: mask.begin(dab, erases) });
    }
    this.#last = { x: dab.x, y: dab.y };
  }

  /** @param {Point} at @param {PointerEvent} event */
  extend(at, event) {
    const dab = this.#dab(at, event);
    this.scene.draw({ mask: this.#sheet?.mask.extend(dab) });
    this.#last = { x: dab.x, y: dab.y };
  }

  end() {
    if (!this.#sheet?.mask.painting) return;
    this.scene.draw({ mask: this.#sheet.mask.end() });
    this.told.painted();
  }

  /** Take back the stroke in hand. */
  cancel() {
    this.#sheet?.mask.cancel();
    this.#last = null;
    this.scene.draw({ mask: "all" });
  }

  /** @param {Point} at */
  hover(at) {
    this.#cursor = null;
    this.scene.point({ at: this.scene.view.inPicture(at), width: this.width, keyed: false });
  }

  /** Show it no more. */
  hide() {
    this.#cursor = null;
    this.scene.point(null);
  }

  /** @param {Point} at @param {PointerEvent} event */
  #dab(at, { pointerType, pressure }) {
    const share = pointerType === "pen" ? LIGHTEST + (1 - LIGHTEST) * pressure : 1;
    return { ...this.scene.view.inPicture(at), width: this.width * share };
  }

  // -- by keys

  /** Move the cursor; it comes up in the middle. @param {number} x @param {number} y  pixels of the screen */
  go(x, y) {
    if (!this.#sheet) return;
    const { width, height } = this.#sheet.picture.size;
    const { scale } = this.scene.view;
    const within = (/** @type {number} */ at, /** @type {number} */ most) => Math.min(most, Math.max(0, at));
    const before = this.#cursor;
    const at = before
      ? { x: within(before.x + x / scale, width), y: within(before.y + y / scale, height) }
      : { x: width / 2, y: height / 2 };
    this.#cursor = at;
    this.scene.reveal(at);
    this.scene.point({ at, width: this.width, keyed: true });
    clearTimeout(this.#speaking);
    this.#speaking = window.setTimeout(() => this.told.say(t("editor.said.at", { x: Math.round(at.x), y: Math.round(at.y) })), SPEAKS);
  }

  /** Paint where the cursor is. */
  dab() {
    const mask = this.#sheet?.mask;
    if (!mask || !this.#cursor || mask.painting) return;
    this.scene.veiled = false;
    this.scene.draw({ mask: mask.begin({ ...this.#cursor, width: this.width }, this.erases) });
    mask.end();
    this.#last = this.#cursor;
    this.told.say(t(this.erases ? "editor.said.erased" : "editor.said.painted"));
    this.told.painted();
  }
}
