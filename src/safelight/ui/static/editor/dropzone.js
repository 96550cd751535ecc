// Opens a picture that is dropped, chosen from the disk, or pasted.

import { button, h, icon } from "../core/dom.js";
import { t } from "../core/text.js";

export class Dropzone {
  /**
   * @param {HTMLElement} root  the element that accepts dropped pictures, and pasted ones while it is visible
   * @param {(file: File) => void} onfile
   * @param {AbortSignal} signal  removes all listeners
   */
  constructor(root, onfile, signal) {
    this.root = root;
    this.input = h("input", {
      type: "file", accept: "image/*", hidden: true, "aria-label": t("editor.choose"),
      onchange: () => {
        const [file] = this.input.files ?? [];
        this.input.value = "";
        if (file) onfile(file);
      },
    });
    this.element = h(
      "div",
      {
        class: "sl-editor-drop",
        onclick: (/** @type {MouseEvent} */ event) => event.target instanceof Element && !event.target.closest("button") && this.openFileDialog(),
      },
      icon("upload"),
      h("p", { class: "sl-editor-invites" }, t("editor.drop")),
      button({ label: t("editor.choose"), onclick: () => this.openFileDialog() }),
      h("p", { class: "sl-hint" }, t("editor.paste")),
    );
    root.addEventListener("dragover", (event) => this.#onDragOver(event), { signal });
    root.addEventListener("dragleave", (event) => {
      if (!(event.relatedTarget instanceof Node && root.contains(event.relatedTarget))) this.#setDropping(false);
    }, { signal });
    root.addEventListener("drop", (event) => {
      const file = firstImage(event.dataTransfer) ?? event.dataTransfer?.files[0];
      this.#setDropping(false);
      if (!file) return;
      event.preventDefault();
      onfile(file);
    }, { signal });
    document.addEventListener("paste", (event) => {
      const file = firstImage(event.clipboardData);
      if (!file || event.defaultPrevented || !this.#isInView() || event.clipboardData?.types.includes("text/plain")) return;
      event.preventDefault();
      onfile(file);
    }, { signal });
  }

  /** Open the browser's file dialog. */
  openFileDialog() {
    this.input.click();
  }

  /** @param {DragEvent} event */
  #onDragOver(event) {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    event.dataTransfer.dropEffect = "copy";
    this.#setDropping(true);
  }

  /** @param {boolean} over */
  #setDropping(over) {
    this.root.classList.toggle("sl-dropping", over);
  }

  #isInView() {
    const { top, bottom, height } = this.root.getBoundingClientRect();
    return height > 0 && bottom > 0 && top < innerHeight && this.root.checkVisibility();
  }
}

/** @param {DataTransfer | null} data */
const firstImage = (data) => [...(data?.files ?? [])].find(({ type }) => type.startsWith("image/"));
