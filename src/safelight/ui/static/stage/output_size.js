// The size in which an edited picture is generated: said in words, and chosen. The form's width and height hold it.

import { h, setChildren } from "../core/dom.js";
import { formatNumber, formatPercent, t } from "../core/text.js";
import { sameShape, sameSize, sizeChoices } from "../editor/output_size.js";

/** @typedef {import("../editor/picture.js").Size} Size */

const CUSTOM = "custom"; // the size in the form is none of the choices

export class OutputSize {
  /** The last choice of the user, which also applies to the next picture. */
  #choice = "";
  /** For what the size was set. @type {{picture: Blob | null, checkpoint: string | undefined}} */
  #applied = { picture: null, checkpoint: undefined };
  #rendered = "";

  /** @param {import("../form.js").Form} form @param {import("../editor.js").Editor} editor */
  constructor(form, editor) {
    this.form = form;
    this.editor = editor;
    this.words = h("output", { class: "sl-editing-size" });
    this.select = h("select", { class: "sl-field", "aria-label": t("editing.size"), onchange: () => ((this.#choice = this.select.value), this.apply()) });
    this.element = h("div", { class: "sl-editing-sizes" }, this.words, this.select);
  }

  /** Show the size that the form holds; a checkpoint that was chosen meanwhile has a size of its own. */
  update() {
    const { editor, form } = this;
    if (!editor.picture) this.#applied = { picture: null, checkpoint: undefined };
    if (!editor.picture || !form.ready) return;
    const { picture, checkpoint } = this.#applied;
    const current = form.checkpoint?.id;
    if (picture === editor.picture && checkpoint !== current) return this.apply();
    this.#applied = { picture: editor.picture, checkpoint: current };
    this.#render();
  }

  /** @returns {import("../editor/output_size.js").SizeChoice[]} */
  get #choices() {
    return this.editor.area ? sizeChoices(this.editor.area, this.form.checkpoint?.draws) : [];
  }

  /** Set the form's width and height for the picture. */
  apply() {
    if (this.editor.picture !== this.#applied.picture && Number(this.#choice)) this.#choice = "own"; // another picture is not scaled again
    const choices = this.#choices;
    const chosen = choices.find(({ name }) => name === this.#choice) ?? choices[0];
    this.#applied = { picture: this.editor.picture, checkpoint: this.form.checkpoint?.id };
    if (chosen) this.form.fill(chosen.size);
  }

  #render() {
    const { area, size, mode } = this.editor;
    if (!area || !size) return;
    const target = { width: Number(this.form.values.width), height: Number(this.form.values.height) };
    const choices = this.#choices;
    const current = choices.find((choice) => sameSize(choice.size, target))?.name ?? CUSTOM;
    const key = JSON.stringify([area, size, mode, target, choices, this.form.values["inpaint.only_masked"]]);
    if (key === this.#rendered) return;
    this.#rendered = key;
    const sizes = { from: formatSize(size), area: formatSize(area), to: formatSize(target) };
    const stays = mode === "inpaint" && !this.form.values["inpaint.only_masked"] && sameSize(size, target);
    this.words.textContent = mode === "image" || stays ? imageWords(size, target, current) : t(`editing.size.${mode}${mode === "inpaint" && this.form.values["inpaint.only_masked"] ? ".part" : ""}`, sizes);
    const options = [...(current === CUSTOM ? [{ name: CUSTOM, size: target }] : []), ...choices];
    setChildren(this.select, options.map(({ name, size: offered }) => h("option", { value: name, selected: name === current }, `${choiceName(name)} · ${formatSize(offered)}`)));
    this.select.value = current;
  }
}

/** What becomes of a picture's size without a mask. @param {Size} from @param {Size} to @param {string} choice */
function imageWords(from, to, choice) {
  if (sameSize(from, to)) return t("editing.size.same", { from: formatSize(from) });
  const words = t("editing.size.image", { from: formatSize(from), to: formatSize(to) });
  if (choice === "checkpoint") return t("editing.size.limited", { sizes: words });
  return sameShape(from, to) ? words : t("editing.size.cut", { sizes: words });
}

/** @param {string} name */
const choiceName = (name) => (Number(name) ? formatPercent(Number(name)) : t(`editing.size.choice.${name}`));
/** @param {Size} size */
const formatSize = ({ width, height }) => `${formatNumber(width)} × ${formatNumber(height)}`;
