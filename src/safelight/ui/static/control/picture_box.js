// The picture of a unit: dropped, pasted, chosen from the disk or from the gallery, or the request's initial picture; with the map that a preprocessor makes over it.

import { button, h, icon, setChildren } from "../core/dom.js";
import { thumbnailUrl } from "../core/picture.js";
import { formatNumber, t } from "../core/text.js";
import { showError, toast } from "../core/toast.js";

/** @typedef {import("./units.js").Unit} Unit */
/** @typedef {import("./units.js").UnitPicture} UnitPicture */

const SHOWN_SIDE = 512; // pixels of a thumbnail from the gallery

export class PictureBox {
  /** What is shown now, to be compared with what is to be shown. @type {unknown} */
  #shown;
  /** The address of the picture that is shown, if it has to be released. */
  #url = "";
  /** Where the map is shown. @type {HTMLImageElement | null} */
  #mapImage = null;

  /**
   * @param {{onchange: (changes: import("./units.js").UnitChanges) => void}} options
   */
  constructor({ onchange }) {
    this.onchange = onchange;
    this.input = h("input", {
      type: "file", accept: "image/*", hidden: true, "aria-label": t("editor.choose"),
      onchange: () => {
        const [file] = this.input.files ?? [];
        this.input.value = "";
        if (file) void this.take(file);
      },
    });
    this.content = h("div", { class: "sl-unit-content" });
    this.refusal = h("p", { class: "sl-form-refusal", role: "alert", hidden: true });
    this.element = h("div", { class: "sl-unit-picture", role: "group", "aria-label": t("control.picture"), tabindex: -1 }, this.content, this.refusal, this.input);
    this.element.addEventListener("dragover", (event) => {
      if (!event.dataTransfer?.types.includes("Files")) return;
      event.preventDefault();
      event.dataTransfer.dropEffect = "copy";
      this.element.classList.add("sl-dropping");
    });
    this.element.addEventListener("dragleave", (event) => {
      if (!(event.relatedTarget instanceof Node && this.element.contains(event.relatedTarget))) this.element.classList.remove("sl-dropping");
    });
    this.element.addEventListener("drop", (event) => {
      this.element.classList.remove("sl-dropping");
      const file = firstImage(event.dataTransfer) ?? event.dataTransfer?.files[0];
      if (!file) return;
      event.preventDefault();
      void this.take(file);
    });
  }

  /** Take a file as the unit's own picture, if it is one. @param {Blob} blob */
  async take(blob) {
    const size = await sizeOf(blob);
    if (!size) return toast(t("editor.unreadable"), { kind: "error", hint: t("editor.unreadable.hint") });
    this.onchange({ source: "own", picture: { blob, entry: null, ...size } });
  }

  /** @param {Unit} unit @param {UnitPicture | null} initial  the request's initial picture */
  update({ source, picture }, initial) {
    const used = source === "initial" ? initial : picture;
    const key = `${source} ${used ? `${used.entry} ${used.width} ${used.height}` : ""}`;
    if (this.#shown !== undefined && key === /** @type {any} */ (this.#shown).key && used?.blob === /** @type {any} */ (this.#shown).blob) return;
    this.#shown = { key, blob: used?.blob };
    URL.revokeObjectURL(this.#url);
    this.#url = "";
    this.#mapImage = null;
    setChildren(this.content, used ? this.#filled(used, source) : source === "initial" ? this.#waiting() : this.#empty());
  }

  /** Show a map over the picture. @param {string} url  empty: none @param {number} opacity  0 to 1 */
  showMap(url, opacity) {
    if (!this.#mapImage) return;
    this.#mapImage.hidden = !url;
    this.#mapImage.style.opacity = String(opacity);
    if (url && this.#mapImage.getAttribute("src") !== url) this.#mapImage.src = url;
  }

  /** Say what is wrong with the picture. @param {string} text  empty: nothing */
  refuse(text) {
    this.refusal.hidden = !text;
    if (this.refusal.textContent !== text) this.refusal.textContent = text;
  }

  focus() {
    (this.content.querySelector("button") ?? this.element).focus();
  }

  /** Release what is held for the picture. */
  close() {
    URL.revokeObjectURL(this.#url);
  }

  #empty() {
    return h("div", { class: "sl-unit-drop" }, icon("upload"), h("p", {}, t("control.drop")), this.#choices(), h("p", { class: "sl-hint" }, t("control.paste")));
  }

  /** The initial picture is to be used, and there is none yet. */
  #waiting() {
    return h("div", { class: "sl-unit-drop" }, icon("picture"), h("p", {}, t("control.initial.none")),
      h("div", { class: "sl-unit-choices" },
        button({ icon: "picture", label: t("control.initial.choose"), onclick: () => dispatchEvent(new CustomEvent("sl:edit")) }),
        button({ label: t("control.initial.not"), kind: "quiet", onclick: () => this.onchange({ source: "own" }) })));
  }

  #choices() {
    return h("div", { class: "sl-unit-choices" },
      button({ label: t("editor.choose"), onclick: () => this.input.click() }),
      button({ label: t("control.from_gallery"), onclick: () => void this.#chooseFromGallery() }),
      button({ label: t("control.initial"), onclick: () => this.onchange({ source: "initial" }) }));
  }

  /** @param {UnitPicture} picture @param {Unit["source"]} source */
  #filled(picture, source) {
    const { blob, entry, width, height } = picture;
    const src = blob ? (this.#url = URL.createObjectURL(blob)) : thumbnailUrl(String(entry), SHOWN_SIDE);
    this.#mapImage = h("img", { class: "sl-unit-map", alt: t("control.map"), hidden: true, draggable: "false" });
    const size = `${formatNumber(width)} × ${formatNumber(height)}`;
    return h("div", { class: "sl-unit-filled" },
      h("div", { class: "sl-unit-frame", style: `aspect-ratio: ${width} / ${height}` }, h("img", { class: "sl-unit-image", src, alt: t("control.picture"), draggable: "false" }), this.#mapImage),
      h("div", { class: "sl-unit-caption" },
        h("span", { class: "sl-hint" }, source === "initial" ? t("control.initial.says", { size }) : size),
        button({ icon: "upload", label: t("control.other"), iconOnly: true, onclick: () => this.input.click() }),
        button({ icon: "grid", label: t("control.from_gallery"), iconOnly: true, onclick: () => void this.#chooseFromGallery() }),
        button({ icon: "close", label: t("editor.remove"), iconOnly: true, onclick: () => (this.onchange({ source: "own", picture: null }), this.focus()) })));
  }

  async #chooseFromGallery() {
    try {
      const { pickFromGallery } = await import("./gallery_picker.js");
      const entry = await pickFromGallery();
      if (entry) this.onchange({ source: "own", picture: { blob: null, entry: entry.id, width: entry.width, height: entry.height } });
    } catch (error) {
      showError(error);
    }
  }
}

/** @param {DataTransfer | null} data @returns {File | undefined} */
export const firstImage = (data) => [...(data?.files ?? [])].find(({ type }) => type.startsWith("image/"));

/** The size of a picture, upright; null: the browser cannot read it. @param {Blob} blob @returns {Promise<{width: number, height: number} | null>} */
export async function sizeOf(blob) {
  const url = URL.createObjectURL(blob);
  try {
    const image = h("img", { src: url });
    await image.decode();
    return { width: image.naturalWidth, height: image.naturalHeight };
  } catch {
    return null;
  } finally {
    URL.revokeObjectURL(url);
  }
}
