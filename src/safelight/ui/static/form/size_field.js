// Width and height: both numbers in one line with a button that swaps them, the checkpoint's good sizes by ratio, and what the picture will have.

import { button, h } from "../core/dom.js";
import { formatNumber, t } from "../core/text.js";
import { Frame } from "./frame.js";
import { NumberInput } from "./number_input.js";

/** @typedef {import("../controls.js").FormControl} FormControl */
/** @typedef {import("../types").GenerationDefaults} GenerationDefaults */
/** @typedef {{width: number, height: number}} Size  pixels */
/** @typedef {"width" | "height"} Side */

/** Ratios of width to height that have a button. @type {[number, number][]} */
const RATIOS = [[1, 1], [4, 3], [3, 2], [16, 9], [3, 4], [2, 3], [9, 16]];
const COARSE_UNIT = 64, COARSE_FROM = 512; // checkpoints with sides of so many pixels were trained with sizes that are multiples of 64
const LARGE = 2; // times the checkpoint's own area: above it, things repeat

export class SizeField {
  /** @type {Size} */
  #size = { width: 0, height: 0 };
  /** @type {GenerationDefaults | null} */
  #defaults = null;
  /** Why the sides were refused. @type {Record<Side, string>} */
  #refusals = { width: "", height: "" };
  #typedNote = "";
  #noteBelow = "";

  /** @param {Record<Side, FormControl>} controls @param {(values: Partial<Size>) => void} onchange */
  constructor(controls, onchange) {
    this.onchange = onchange;
    this.frame = new Frame("size", { aliases: controls.width.aliases });
    const side = (/** @type {Side} */ name) => this.#makeSide(controls[name], name);
    /** @type {Record<Side, NumberInput>} */
    this.sides = { width: side("width"), height: side("height") };
    const { width, height } = this.sides;
    this.frame.label.htmlFor = width.input.id;
    const swap = button({ icon: "swap", label: t("create.size.swap"), iconOnly: true, onclick: () => onchange({ width: this.#size.height, height: this.#size.width }) });
    this.chips = RATIOS.map(([across, down]) => h("button", { type: "button", class: "sl-chip sl-ratio", onclick: () => onchange(this.#goodSize(across / down)) }, `${across}:${down}`));
    const line = h("div", { class: "sl-size-line" }, this.#box(width, "width"), h("span", { "aria-hidden": "true" }, "×"), this.#box(height, "height"), swap);
    this.frame.fill([width.input, height.input], line);
    this.frame.control.after(h("div", { class: "sl-ratios", role: "group", "aria-label": t("create.size.ratios") }, this.chips));
  }

  /** A side as a field of its own, whose frame is shared. @param {Side} name @returns {import("./fields.js").Field} */
  side(name) {
    return {
      frame: this.frame,
      show: (value) => this.#show({ [name]: Number(value) }),
      commit: () => this.sides[name].commit(),
      refuse: (text) => this.#refuse(name, text),
      focus: () => this.sides[name].input.focus(),
    };
  }

  /**
   * What the sizes depend on.
   * @param {GenerationDefaults | null | undefined} defaults  the checkpoint's
   * @param {string} note  what becomes of a picture that is changed; empty: there is none
   */
  update(defaults, note) {
    if (defaults && defaults !== this.#defaults) {
      this.#defaults = defaults;
      for (const side of Object.values(this.sides)) side.multiple = defaults.size_multiple;
      for (const [at, [across, down]] of RATIOS.entries()) {
        const { width, height } = this.#goodSize(across / down);
        this.chips[at].title = t("create.size.good", { width, height });
      }
    }
    this.#noteBelow = note;
    this.#render();
  }

  /** @param {FormControl} control @param {Side} name */
  #makeSide(control, name) {
    return new NumberInput(
      { minimum: Number(control.minimum), limit: Number(control.limit), step: control.step ?? 1, whole: true },
      {
        id: `sl-${name}-input`, "aria-label": t(`create.${name}`), title: t(`create.${name}`),
        onchange: (value) => this.onchange({ [name]: Number(value) }),
        onnote: (text) => ((this.#typedNote = text), this.#render()),
      },
    );
  }

  /** @param {NumberInput} side @param {Side} name */
  #box(side, name) {
    return h("div", { id: `sl-${name}`, class: "sl-size-side" }, side.input);
  }

  /** @param {Partial<Size>} sides */
  #show(sides) {
    Object.assign(this.#size, sides);
    for (const [name, value] of Object.entries(sides)) this.sides[/** @type {Side} */ (name)].show(value);
    this.#render();
  }

  #render() {
    const { width, height } = this.#size;
    for (const [at, [across, down]] of RATIOS.entries()) {
      const good = this.#goodSize(across / down);
      const pressed = good.width === width && good.height === height;
      this.chips[at].setAttribute("aria-pressed", String(pressed || Math.abs((width / height) * (down / across) - 1) < 0.015));
    }
    const own = this.#defaults;
    const isLarge = own && width * height > LARGE * own.width * own.height;
    this.frame.note(this.#typedNote || this.#noteBelow || (isLarge ? t("create.size.large", { width: own.width, height: own.height }) : ""));
  }

  /** The size with a ratio whose area is the checkpoint's own. @param {number} ratio @returns {Size} */
  #goodSize(ratio) {
    const { width, height, size_multiple: multiple } = this.#defaults ?? { width: 512, height: 512, size_multiple: 8 };
    const unit = Math.min(width, height) >= COARSE_FROM ? Math.max(multiple, Math.ceil(COARSE_UNIT / multiple) * multiple) : multiple;
    const round = (/** @type {number} */ side) => Math.max(unit, Math.round(side / unit) * unit);
    return { width: round(Math.sqrt(width * height * ratio)), height: round(Math.sqrt((width * height) / ratio)) };
  }

  /** @param {Side} name @param {string} text */
  #refuse(name, text) {
    this.#refusals[name] = text;
    const refused = /** @type {Side[]} */ (["width", "height"]).filter((each) => this.#refusals[each]);
    this.frame.refuse(refused.map((each) => `${t(`create.${each}`)}: ${this.#refusals[each]}`).join(" "), refused.map((each) => this.sides[each].input));
  }
}

/**
 * What becomes of the size when a picture is changed.
 * @param {Size} size  the form's
 * @param {{mode: "none" | "image" | "inpaint" | "outpaint", size: Size | null, outpaint: import("../editor/handles.js").Sides | null} | null} editor
 * @returns {string}  empty: there is no picture, or its size is the form's
 */
export function editedSizeNote({ width, height }, editor) {
  const picture = editor?.size;
  if (!editor || !picture) return "";
  const { left = 0, right = 0, top = 0, bottom = 0 } = editor.outpaint ?? {};
  const kept = { width: picture.width + left + right, height: picture.height + top + bottom };
  const text = (/** @type {Size} */ size) => `${formatNumber(size.width)} × ${formatNumber(size.height)}`;
  if (editor.mode !== "image") return t("create.size.kept", { size: text(kept) });
  return picture.width === width && picture.height === height ? "" : t("create.size.scaled", { from: text(picture), to: text({ width, height }) });
}
