// A result laid over the picture that it was made from; a part of it can be uncovered to compare them.

import { h } from "../core/dom.js";
import { resultBox } from "./output_size.js";

/** @typedef {import("./picture.js").Size} Size */

export class ResultLayer {
  /** Size of the result, in pixels. @type {Size | null} */
  #size = null;
  #fitted = false; // whether the server cut the picture to the result's shape

  constructor() {
    this.image = h("img", { class: "sl-editor-result-image", alt: "", draggable: "false" });
    this.line = h("div", { class: "sl-editor-split" });
    this.element = h("div", { class: "sl-editor-result", hidden: true }, this.image, this.line);
  }

  get visible() {
    return !this.element.hidden;
  }

  /**
   * Show a result.
   * @param {{source: string, size: Size, fitted: boolean, blurred: boolean, name: string}} result  source: a URL; fitted: the result shows the largest part of the
   *   picture with its own shape, otherwise the whole picture with its extensions
   */
  show({ source, size, fitted, blurred, name }) {
    this.#size = size;
    this.#fitted = fitted;
    if (this.image.getAttribute("src") !== source) this.image.src = source;
    this.image.alt = name;
    this.image.classList.toggle("sl-is-blurred", blurred);
    this.element.hidden = false;
  }

  hide() {
    this.element.hidden = true;
    this.image.removeAttribute("src");
    this.split = 1;
  }

  /** How much of the result is shown, from the right. @param {number} share  0 to 1 */
  set split(share) {
    this.element.style.setProperty("--sl-split", `${share * 100}%`);
    this.line.hidden = share >= 1 || share <= 0;
  }

  /** @param {import("./viewport.js").Viewport} view @param {import("./viewport.js").Area} area  the picture with its extensions */
  place(view, area) {
    if (!this.#size) return;
    const { left, top, right, bottom } = view.edges(this.#fitted ? resultBox(area, this.#size) : area);
    Object.assign(this.element.style, { translate: `${left}px ${top}px`, width: `${right - left}px`, height: `${bottom - top}px` });
  }
}
