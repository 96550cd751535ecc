// How a picture comes in: dropped, chosen from the disk, or pasted.

import { button, h, icon } from "../core/dom.js";
import { t } from "../core/text.js";

export class Dropzone {
  /**
   * @param {HTMLElement} root  Where pictures can be dropped.
   * @param {(file: File) => void} take
   * @param {AbortSignal} signal  Ends all listening.
   */
  constructor(root, take, signal) {
    this.root = root;
    this.input = h("input", {
      type: "file", accept: "image/*", hidden: true, "aria-label": t("editor.choose"),
      onchange: () => {
        const [file] = this.input.files ?? [];
        this.input.value = "";
        if (file) take(file);
      },
    });
    this.element = h(
      "div",
      {
        class: "sl-editor-drop",
        onclick: (/** @type {MouseEvent} */ event) => event.target instanceof Element && !event.target.closest("button") && this.choose(),
      },
      icon("upload"),
      h("p", { class: "sl-editor-invites" }, t("editor.drop")),
      button({ label: t("editor.choose"), onclick: () => this.choose() }),
      h("p", { class: "sl-hint" }, t("editor.paste")),
    );
    root.addEventListener("dragover", (event) => this.#over(event), { signal });
    root.addEventListener("dragleave", (event) => {
      if (!(event.relatedTarget instanceof Node && root.contains(event.relatedTarget))) this.#mark(false);
    }, { signal });
    root.addEventListener("drop", (event) => {
      const file = pictureIn(event.dataTransfer) ?? event.dataTransfer?.files[0];
      this.#mark(false);
      if (!file) return;
      event.preventDefault();
      take(file);
    }, { signal });
    document.addEventListener("paste", (event) => {
      const file = pictureIn(event.clipboardData);
      if (!file || event.defaultPrevented || !this.#inView() || event.clipboardData?.types.includes("text/plain")) return;
      event.preventDefault();
      take(file);
    }, { signal });
  }

  /** Let a file be chosen. */
  choose() {
    this.input.click();
  }

  /** @param {DragEvent} event */
  #over(event) {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    event.dataTransfer.dropEffect = "copy";
    this.#mark(true);
  }

  /** @param {boolean} over */
  #mark(over) {
    this.root.classList.toggle("sl-dropping", over);
  }

  #inView() {
    const { top, bottom, height } = this.root.getBoundingClientRect();
    return height > 0 && bottom > 0 && top < innerHeight && this.root.checkVisibility();
  }
}

/** @param {DataTransfer | null} data */
const pictureIn = (data) => [...(data?.files ?? [])].find(({ type }) => type.startsWith("image/"));
