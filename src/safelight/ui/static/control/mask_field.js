// The mask of a unit: white where it counts.

import { button, h, setChildren } from "../core/dom.js";
import { t } from "../core/text.js";
import { toast } from "../core/toast.js";
import { Frame } from "../form/frame.js";
import { sizeOf } from "./picture_box.js";

export class MaskField {
  /** @type {Blob | null | undefined} */
  #shown;
  #url = "";

  /** @param {string} name  of the field @param {{onchange: (mask: Blob | null) => void, onpaint: () => void}} calls  onpaint: the mask is to be painted */
  constructor(name, { onchange, onpaint }) {
    this.onchange = onchange;
    this.frame = new Frame(name, { label: t("control.mask"), info: t("control.mask.info"), aliases: ["effective region mask"] });
    this.input = h("input", { type: "file", accept: "image/*", hidden: true, "aria-label": t("control.mask.choose"), onchange: () => void this.#take() });
    this.content = h("div", { class: "sl-unit-mask" });
    this.paint = button({ icon: "brush", label: t("control.mask.paint"), onclick: onpaint });
    this.choose = button({ label: t("control.mask.choose"), id: this.frame.inputId, onclick: () => this.input.click() });
    this.remove = button({ icon: "close", label: t("control.mask.remove"), iconOnly: true, onclick: () => (onchange(null), this.paint.focus()) });
    this.image = h("img", { class: "sl-unit-mask-picture", alt: t("control.mask") });
    this.frame.fill([this.choose], this.content, this.input);
    setChildren(this.content, this.image, this.paint, this.choose, this.remove);
  }

  /** @param {Blob | null} mask */
  show(mask) {
    if (mask === this.#shown) return;
    this.#shown = mask;
    URL.revokeObjectURL(this.#url);
    this.#url = mask ? URL.createObjectURL(mask) : "";
    if (mask) this.image.src = this.#url;
    this.image.hidden = this.remove.hidden = !mask;
  }

  /** Release what is held for it. */
  close() {
    URL.revokeObjectURL(this.#url);
  }

  async #take() {
    const [file] = this.input.files ?? [];
    this.input.value = "";
    if (!file) return;
    if (await sizeOf(file)) this.onchange(file);
    else toast(t("editor.unreadable"), { kind: "error", hint: t("editor.unreadable.hint") });
  }
}
