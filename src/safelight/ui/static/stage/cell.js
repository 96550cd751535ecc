// A place on the stage: a picture, alone or above the one that it was made from, or what is known of one that is still to come.

import { h, setChildren } from "../core/dom.js";
import { decisionBadge, pictureFrame } from "../core/picture.js";
import { t } from "../core/text.js";
import { BeforeAfter } from "../viewer/before_after.js";

/** @typedef {import("../types").OutputPicture} OutputPicture */

export class Cell {
  /** @type {OutputPicture | null} */
  picture = null;
  #shown = ""; // what the element shows: pictures at URLs
  content = h("div", { class: "sl-slot-content" });
  element = h("div", { class: "sl-slot sl-waiting" }, this.content);
  #note = h("span", { class: "sl-slot-note" });

  /**
   * Set the size, and show the picture.
   * @param {import("./layout.js").Size} size  CSS pixels
   * @param {{source: (picture: OutputPicture, width: number) => string, before: string | null, name: string, onopen: () => void}} options
   *   source: returns the URL for a width; before: URL of the picture to compare with; name: of the picture, for screen readers
   */
  lay({ width, height }, { source, before, name, onopen }) {
    this.element.style.width = `${width}px`;
    this.element.style.height = `${height}px`;
    const { picture } = this;
    const url = picture && source(picture, width);
    const key = picture ? `${picture.id} ${url} ${before}` : "";
    if (!picture || !url || key === this.#shown) return;
    this.#shown = key;
    this.element.classList.remove("sl-waiting");
    this.element.dataset.picture = picture.id;
    if (before) setChildren(this.content, comparison(before, url, name, onopen), h("span", { class: "sl-badge sl-before" }, t("compare.before")), h("span", { class: "sl-badge sl-after" }, t("compare.after")));
    else setChildren(this.content, pictureFrame({ ...picture, prompt: name }, { src: url, onopen, lazy: false }), picture.decision !== "block" && decisionBadge(picture)); // the frame says why a blocked one is not shown
  }

  /** Show a preview of the picture to come. @param {string} image  its URL */
  preview(image) {
    if (this.picture) return;
    const shown = this.content.querySelector("img");
    if (shown && shown.getAttribute("src") !== image) shown.src = image;
    else if (!shown) this.content.prepend(h("img", { src: image, alt: t("jobs.preview"), class: "sl-preview" }));
    this.element.classList.remove("sl-waiting");
  }

  /** Show how far the picture to come is. @param {string} text */
  progress(text) {
    if (this.picture) return;
    this.#note.textContent = text;
    if (!this.#note.isConnected) this.content.append(this.#note);
  }
}

/** @param {string} before @param {string} after @param {string} name @param {() => void} onopen */
function comparison(before, after, name, onopen) {
  const pictures = new BeforeAfter();
  [before, after].forEach((src, at) => (pictures.images[at].src = src));
  pictures.images[1].alt = name;
  pictures.element.addEventListener("dblclick", onopen);
  return pictures.element;
}
