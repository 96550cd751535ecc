// The pictures that the model looks at, as chips below the prompts: dropped, pasted, chosen from the disk or the gallery, put in order, and named in prompts by their places.

import { firstImage, sizeOf } from "./control/picture_box.js";
import { button, h, icon } from "./core/dom.js";
import { errorWithHint } from "./core/error_text.js";
import { thumbnailUrl } from "./core/picture.js";
import { openMenu } from "./core/popover.js";
import { formatNumber, t } from "./core/text.js";
import { toast, withErrorToast } from "./core/toast.js";
import { Frame } from "./form/frame.js";
import { listField } from "./form/list_field.js";
import { dragChip } from "./references/drag.js";

/** @typedef {import("./form.js").Form} Form */
/** @typedef {import("./references/list.js").Reference} Reference */
/** @typedef {import("./control/units.js").UnitPicture} UnitPicture */

const SHOWN_SIDE = 256; // pixels of a thumbnail from the gallery

export class ReferencePanel {
  /** By the reference's id. @type {Map<number, Chip>} */
  #chips = new Map();
  /** The reference whose picture is being chosen; null: a new one's. @type {number | null} */
  #replaced = null;

  /**
   * @param {HTMLElement} root  where they are shown
   * @param {Form} form
   * @param {(text: string) => void} insert  puts text into the prompt
   */
  constructor(root, form, insert) {
    this.root = root;
    this.form = form;
    this.insert = insert;
    this.frame = new Frame("references", { layout: "stacked" });
    this.input = h("input", { type: "file", accept: "image/*", multiple: true, hidden: true, "aria-label": t("references.choose"), onchange: () => void this.#takeChosen() });
    this.count = h("span", { class: "sl-prompt-says" });
    this.frame.head.append(this.count);
    this.chips = h("ol", { class: "sl-references-list", role: "list", "aria-labelledby": this.frame.labelId });
    this.choose = button({ icon: "upload", label: t("references.choose"), onclick: () => this.#openFileDialog(null) });
    this.frame.label.removeAttribute("for"); // the buttons say themselves what they do
    const fromGallery = button({ icon: "grid", label: t("control.from_gallery"), onclick: () => void this.#chooseFromGallery(null) });
    this.add = h("div", { class: "sl-references-add" }, this.choose, fromGallery);
    this.liveRegion = h("p", { class: "sl-hidden", role: "status" });
    this.frame.fill([this.choose], h("div", { class: "sl-references" }, this.chips, this.add), this.input, this.liveRegion);
    root.append(this.frame.element);
    this.#acceptFiles(this.frame.element);
    form.subscribe(() => this.#update());
    this.#update();
  }

  /** Focus what was refused, or the button that adds one. */
  showRefused() {
    const [about] = [...this.form.refusals.keys()].flatMap((field) => listField(field) ?? []).filter(({ list }) => list === "references");
    this.#focus(about?.index ?? null);
  }

  /** @param {number | null} index  of a picture; null: the button that adds one */
  #focus(index) {
    const { list } = this.form.references;
    const chip = this.#chips.get(list[index ?? -1]?.id ?? -1);
    (chip?.button ?? this.choose).focus();
    this.frame.element.scrollIntoView({ block: "nearest" });
  }

  /** @param {HTMLElement} element  which takes pictures that are dropped on it, or pasted while it has the focus or the pointer is over it */
  #acceptFiles(element) {
    element.classList.add("sl-takes-files");
    element.addEventListener("dragover", (event) => {
      if (!event.dataTransfer?.types.includes("Files")) return;
      event.preventDefault();
      event.dataTransfer.dropEffect = "copy";
      element.classList.add("sl-dropping");
    });
    element.addEventListener("dragleave", (event) => {
      if (!(event.relatedTarget instanceof Node && element.contains(event.relatedTarget))) element.classList.remove("sl-dropping");
    });
    element.addEventListener("drop", (event) => {
      element.classList.remove("sl-dropping");
      const files = [...(event.dataTransfer?.files ?? [])];
      if (!files.length) return;
      event.preventDefault();
      void this.#take(files);
    });
    document.addEventListener("paste", (event) => {
      const file = firstImage(event.clipboardData);
      if (!file || event.clipboardData?.types.includes("text/plain") || !(element.contains(document.activeElement) || element.matches(":hover"))) return;
      event.preventDefault();
      event.stopPropagation();
      void this.#take([file]);
    }, true);
  }

  /** @param {number | null} id  whose picture is to be replaced; null: of none */
  #openFileDialog(id) {
    this.#replaced = id;
    this.input.multiple = id === null;
    this.input.click();
  }

  async #takeChosen() {
    const files = [...(this.input.files ?? [])];
    this.input.value = "";
    await this.#take(files, this.#replaced);
  }

  /** Take files that are pictures. @param {Blob[]} files @param {number | null} [replaced]  id of the reference whose picture is replaced */
  async #take(files, replaced = null) {
    const found = await Promise.all(files.map(async (blob) => ({ blob, size: await sizeOf(blob) })));
    const pictures = found.flatMap(({ blob, size }) => (size ? [{ blob, entry: null, ...size }] : []));
    if (pictures.length < files.length) toast(t("editor.unreadable"), { kind: "error", hint: t("editor.unreadable.hint") });
    this.#put(pictures, replaced);
  }

  #chooseFromGallery = withErrorToast(async (/** @type {number | null} */ replaced) => {
    const { pickFromGallery } = await import("./control/gallery_picker.js");
    const entry = await pickFromGallery();
    if (entry) this.#put([{ blob: null, entry: entry.id, width: entry.width, height: entry.height }], replaced);
  });

  /** @param {UnitPicture[]} pictures @param {number | null} replaced */
  #put(pictures, replaced) {
    const lacking = this.form.references.list.find(({ id, picture }) => (replaced === null ? !picture : id === replaced));
    if (lacking && pictures.length) this.form.references.change(lacking.id, pictures[0]);
    const others = lacking ? pictures.slice(1) : pictures;
    if (others.length) this.form.addReferences(others);
  }

  /** @param {Reference} reference */
  #remove({ id }) {
    const { references } = this.form;
    const before = references.list;
    const index = before.findIndex((each) => each.id === id);
    const focused = this.#chips.get(id)?.element.contains(document.activeElement) || document.activeElement === document.body;
    references.remove(id);
    if (focused) this.#focus(Math.min(index, references.list.length - 1));
    toast(t("references.removed"), { action: { label: t("undo"), run: () => references.set(before) } });
  }

  /** @param {Reference} reference @param {number} to  its new index */
  #move({ id }, to) {
    const { references } = this.form;
    if (to < 0 || to >= references.list.length) return;
    references.move(id, to);
    this.#chips.get(id)?.button.focus();
    this.liveRegion.textContent = t("references.moved", { number: to + 1, of: references.list.length });
  }

  /** @param {Reference} reference @param {number} index */
  #openMenu(reference, index) {
    const chip = this.#chips.get(reference.id);
    if (!chip) return;
    const name = `image ${index + 1}`; // what models know it by, in every language
    const last = this.form.references.list.length - 1;
    openMenu(chip.button, t("references.image", { number: index + 1 }), [
      { icon: "edit", label: t("references.insert", { name }), run: () => this.insert(name) },
      { icon: "left", label: t("references.earlier"), disabled: index === 0, run: () => this.#move(reference, index - 1) },
      { icon: "right", label: t("references.later"), disabled: index === last, run: () => this.#move(reference, index + 1) },
      { icon: "upload", label: t("control.other"), run: () => this.#openFileDialog(reference.id) },
      { icon: "grid", label: t("control.from_gallery"), run: () => void this.#chooseFromGallery(reference.id) },
      { icon: "trash", label: t("references.remove"), run: () => this.#remove(reference) },
    ]);
  }

  #update() {
    const { form } = this;
    const { list } = form.references;
    const limits = form.referenceLimits;
    const maximum = limits ? (limits.maximum ?? Infinity) : 0;
    this.root.hidden = !limits && !list.length;
    for (const [id, chip] of this.#chips) {
      if (list.some((each) => each.id === id)) continue;
      chip.close();
      this.#chips.delete(id);
    }
    list.forEach((reference, index) => {
      let chip = this.#chips.get(reference.id);
      if (!chip) {
        chip = new Chip({
          onopen: () => this.#openMenu(...this.#at(reference.id)),
          onremove: () => this.#remove(this.#at(reference.id)[0]),
          onmove: (by) => this.#move(reference, this.#at(reference.id)[1] + by),
          onpress: (event, element) => dragChip(event, element, this.#elements, (to) => this.#move(reference, to)),
        });
        this.#chips.set(reference.id, chip);
      }
      if (this.chips.children[index] !== chip.element) this.chips.insertBefore(chip.element, this.chips.children[index] ?? null);
      chip.show(reference, index);
    });
    this.count.textContent = list.length && limits?.maximum ? t("references.count", { n: list.length, of: limits.maximum }) : "";
    this.add.hidden = list.length >= maximum;
    this.frame.note(list.length && !limits ? t("references.not_taken") : "");
    const refusals = [...form.refusals].filter(([field]) => listField(field)?.list === "references");
    this.frame.refuse(refusals.map(([, refusal]) => errorWithHint(refusal)).join(" "), refusals.length ? [this.choose] : []);
  }

  /** A reference as it is now, and its index. @param {number} id @returns {[Reference, number]} */
  #at(id) {
    const { list } = this.form.references;
    const index = list.findIndex((each) => each.id === id);
    return [list[index], index];
  }

  get #elements() {
    return this.form.references.list.flatMap(({ id }) => this.#chips.get(id)?.element ?? []);
  }
}

/** One of the pictures: a button with its number, and one that removes it. */
class Chip {
  /** @type {UnitPicture | null | undefined} */
  #shown;
  #url = "";

  /** @param {{onopen: () => void, onremove: () => void, onmove: (by: 1 | -1) => void, onpress: (event: PointerEvent, element: HTMLElement) => void}} calls */
  constructor({ onopen, onremove, onmove, onpress }) {
    this.image = h("img", { alt: "", draggable: "false" });
    this.number = h("span", { class: "sl-reference-number", "aria-hidden": "true" });
    this.button = h("button", { type: "button", class: "sl-reference-picture", "aria-haspopup": "menu", "aria-expanded": "false", onclick: onopen }, this.image, icon("upload"), this.number);
    this.remove = button({ icon: "close", label: t("references.remove"), iconOnly: true, class: "sl-button sl-bare sl-reference-remove", onclick: onremove });
    this.element = h("li", { class: "sl-reference" }, this.button, this.remove);
    this.button.addEventListener("pointerdown", (event) => onpress(event, this.element));
    this.button.addEventListener("keydown", (event) => {
      const by = /** @type {1 | -1 | undefined} */ ({ ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[event.key]);
      if (event.key === "Delete" || event.key === "Backspace") onremove();
      else if (by && !event.altKey && !event.ctrlKey && !event.metaKey) onmove(by);
      else return;
      event.preventDefault();
    });
  }

  /** @param {Reference} reference @param {number} index */
  show({ picture }, index) {
    const number = index + 1;
    this.number.textContent = formatNumber(number);
    this.button.ariaLabel = picture ? t("references.chip", { number, size: `${formatNumber(picture.width)} × ${formatNumber(picture.height)}` }) : t("references.chip.lacking", { number });
    this.button.title = t("references.chip.keys");
    this.remove.ariaLabel = this.remove.title = t("references.remove.one", { number });
    if (picture === this.#shown) return;
    this.#shown = picture;
    URL.revokeObjectURL(this.#url);
    this.#url = picture?.blob ? URL.createObjectURL(picture.blob) : "";
    this.element.classList.toggle("sl-lacking", !picture);
    this.image.hidden = !picture;
    if (picture) this.image.src = this.#url || thumbnailUrl(String(picture.entry), SHOWN_SIDE);
  }

  /** Remove it, and release what is held for it. */
  close() {
    URL.revokeObjectURL(this.#url);
    this.element.remove();
  }
}
