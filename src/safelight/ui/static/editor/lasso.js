// The lasso: an area is drawn freehand, or by keys from corner to corner; it closes itself.

import { t } from "../core/text.js";

/** @typedef {import("./viewport.js").Point} Point */
/** @typedef {import("./scene.js").EditedPicture} EditedPicture */

export class Lasso {
  /** @type {EditedPicture | null} */
  #edited = null;
  /** In pixels of the picture. @type {Point[]} */
  #corners = [];
  #erase = false;

  /** @param {import("./scene.js").Scene} scene @param {{onpainted: () => void, announce: (text: string) => void}} callbacks */
  constructor(scene, callbacks) {
    this.scene = scene;
    this.callbacks = callbacks;
  }

  /** Whether an area has been begun. */
  get drawing() {
    return this.#corners.length > 0;
  }

  /** @param {EditedPicture | null} edited */
  show(edited) {
    this.cancel();
    this.#edited = edited;
  }

  /** @param {Point} at  in pixels of the picture @param {boolean} erase */
  begin(at, erase) {
    this.#corners = [at];
    this.#erase = erase;
    this.scene.maskHidden = false;
    this.scene.showOutline(this.#corners);
  }

  /** @param {Point} at */
  extend(at) {
    this.#corners.push(at);
    this.scene.showOutline(this.#corners);
  }

  /** Close the area, and paint or erase it. */
  end() {
    const [corners, erase] = [this.#corners, this.#erase];
    this.cancel();
    const box = this.#edited?.mask.fillPolygon(corners, erase);
    if (!box) return;
    this.scene.requestDraw({ mask: box });
    this.callbacks.announce(t(erase ? "editor.said.erased" : "editor.said.painted"));
    this.callbacks.onpainted();
  }

  cancel() {
    this.#corners = [];
    this.scene.showOutline([]);
  }

  /** Add a corner by a key; the same corner twice closes the area. @param {Point} at @param {boolean} erase */
  addCorner(at, erase) {
    const last = this.#corners.at(-1);
    if (!last) this.begin(at, erase);
    else if (last.x === at.x && last.y === at.y) return this.end();
    else this.extend(at);
    this.callbacks.announce(t("editor.said.corner", { n: this.#corners.length }));
  }
}
