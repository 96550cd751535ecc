// The fill tool: a click fills the connected region of similar colours, up to what is painted already, as the magic wand of other programs selects it.

import { t } from "../core/text.js";
import { coloursOf } from "./picture.js";

/** @typedef {import("./viewport.js").Point} Point */
/** @typedef {import("./scene.js").EditedPicture} EditedPicture */

const DEFAULT_TOLERANCE = 0.12; // about 32 of 255 levels, as in other programs

export class Fill {
  /** Largest difference of a colour channel from the clicked pixel, 0 to 1; 1 fills everything up to what is painted. */
  tolerance = DEFAULT_TOLERANCE;
  /** @type {EditedPicture | null} */
  #edited = null;
  /** @type {{at: Point, erase: boolean} | null} */
  #press = null;
  /** The picture's colours in the mask's size. @type {Uint8ClampedArray | null} */
  #colours = null;

  /** @param {import("./scene.js").Scene} scene @param {{onpainted: () => void, announce: (text: string) => void}} callbacks */
  constructor(scene, callbacks) {
    this.scene = scene;
    this.callbacks = callbacks;
  }

  /** @param {EditedPicture | null} edited */
  show(edited) {
    if (edited?.picture !== this.#edited?.picture) this.#colours = null;
    this.#edited = edited;
    this.#press = null;
  }

  /** @param {Point} at  in pixels of the picture @param {boolean} erase */
  begin(at, erase) {
    this.#press = { at, erase };
  }

  end() {
    if (this.#press) this.fillAt(this.#press.at, this.#press.erase);
    this.#press = null;
  }

  cancel() {
    this.#press = null;
  }

  /** @param {Point} at  in pixels of the picture @param {boolean} erase */
  fillAt(at, erase) {
    if (!this.#edited) return;
    const { mask, picture } = this.#edited;
    this.#colours ??= coloursOf(picture, mask.canvas);
    this.scene.maskHidden = false;
    if (!mask.fillRegion(at, this.#colours, this.tolerance, erase)) return;
    this.scene.requestDraw({ mask: "all" });
    this.callbacks.announce(t(erase ? "editor.said.erased" : "editor.said.filled"));
    this.callbacks.onpainted();
  }
}
