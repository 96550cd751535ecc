// A region in the form: its prompt, how much it counts, and where it is.

import { REGION_CONTROLS } from "../controls.js";
import { button, h, setChildren } from "../core/dom.js";
import { errorWithHint } from "../core/error_text.js";
import { t } from "../core/text.js";
import { makeField } from "../form/fields.js";
import { Frame } from "../form/frame.js";
import { PromptField } from "../form/prompt_field.js";
import { colourOf } from "./overlay.js";

/** @typedef {import("./list.js").Region} Region */
/** @typedef {Pick<import("../types").ErrorBody, "code" | "message" | "context" | "hint">} Refusal */

export class RegionRow {
  /** @type {Blob | null | undefined} */
  #shown;
  #url = "";

  /**
   * @param {number} id
   * @param {{onchange: (changes: import("./list.js").RegionChanges) => void, onpaint: () => void, onrectangle: () => void, onremove: () => void}} calls
   *   onpaint: its mask is to be painted; onrectangle: it is to be a rectangle again
   */
  constructor(id, { onchange, onpaint, onrectangle, onremove }) {
    const prefix = `regions.${id}`;
    this.title = h("h3", { id: `sl-region-${id}` });
    const text = { name: `${prefix}.prompt`, aliases: [], label: t("create.prompt"), info: t("regions.prompt.info") };
    this.prompt = new PromptField(text, { onchange: (value) => onchange({ prompt: String(value) }), rows: 1, placeholder: t("regions.prompt.example") });
    this.weight = makeField({ ...REGION_CONTROLS.weight, name: `${prefix}.weight`, label: t("control.weight"), info: t("regions.weight.info") }, (value) => onchange({ weight: Number(value) }));
    this.place = new Frame(`${prefix}.mask`, { label: t("regions.place"), info: t("regions.place.info") });
    this.image = h("img", { class: "sl-unit-mask-picture", alt: t("control.mask") });
    this.paint = button({ icon: "brush", label: t("control.mask.paint"), onclick: onpaint });
    this.place.label.removeAttribute("for"); // the buttons say themselves what they do
    this.rectangle = button({ icon: "fit", label: t("regions.rectangle"), onclick: onrectangle });
    this.place.fill([this.paint], h("div", { class: "sl-unit-mask" }, this.image, this.paint, this.rectangle));
    this.refusal = h("p", { class: "sl-form-refusal", role: "alert", hidden: true });
    this.element = h("section", { class: "sl-unit sl-region", "aria-labelledby": this.title.id },
      h("header", {}, this.title, button({ icon: "trash", label: t("regions.remove"), iconOnly: true, class: "sl-button sl-bare sl-unit-remove", onclick: onremove })),
      this.refusal,
      h("div", { class: "sl-unit-fields" }, this.prompt.frame.element, this.weight.frame.element, this.place.element));
  }

  /** @param {Region} region @param {number} index @param {Map<string, Refusal>} refusals  by field of the region */
  update({ prompt, weight, box, mask }, index, refusals) {
    setChildren(this.title, h("span", { class: "sl-region-colour", style: `background: ${colourOf(index)}`, "aria-hidden": "true" }), t("regions.region", { number: index + 1 }));
    this.prompt.show(prompt);
    this.weight.show(weight);
    this.rectangle.hidden = !!box && !mask;
    this.image.hidden = !mask;
    if (mask !== this.#shown) {
      this.#shown = mask;
      URL.revokeObjectURL(this.#url);
      this.#url = mask ? URL.createObjectURL(mask) : "";
      if (mask) this.image.src = this.#url;
    }
    const texts = new Map([...refusals].map(([name, refusal]) => [name, errorWithHint(refusal)]));
    for (const [name, field] of Object.entries({ prompt: this.prompt, weight: this.weight, mask: this.place })) {
      field.refuse(texts.get(name) ?? "");
      texts.delete(name);
    }
    const rest = [...texts.values()].join(" ");
    this.refusal.hidden = !rest;
    if (this.refusal.textContent !== rest) this.refusal.textContent = rest;
    this.element.classList.toggle("sl-refused", refusals.size > 0);
  }

  /** Remove it, and release what is held for it. */
  close() {
    URL.revokeObjectURL(this.#url);
    this.element.remove();
  }
}
