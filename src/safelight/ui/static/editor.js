// The editor: a picture is put in, a mask is painted on it, or its edges are drawn outwards.

import { h } from "./core/dom.js";
import { number, t } from "./core/text.js";
import { toast } from "./core/toast.js";
import { Brush } from "./editor/brush.js";
import { Dropzone } from "./editor/dropzone.js";
import { Gestures } from "./editor/gestures.js";
import { anySide, areaOf, Handles, noSides, rounded } from "./editor/handles.js";
import { Keys } from "./editor/keys.js";
import { Mask } from "./editor/mask.js";
import { decode } from "./editor/picture.js";
import { Scene } from "./editor/scene.js";
import { makeSliders } from "./editor/sliders.js";
import { Toolbar } from "./editor/toolbar.js";

/** @typedef {import("./editor/handles.js").Sides} Sides */
/** @typedef {import("./editor/picture.js").Size} Size */
/** @typedef {import("./editor/scene.js").Sheet} Sheet */

const BLUR = 4, SOFTEST = 64; // pixels of the picture
const ZOOM = 1.5; // by one press
const SAME = 0.01; // how far the proportions of a picture and its mask may differ

export class Editor {
  /** @type {Sheet | null} */
  #sheet = null;
  /** @type {import("./editor/toolbar.js").Tool} */
  #tool = "brush";
  #blur = BLUR;
  #turn = 0; // counts pictures, so that the last one put in wins
  /** What is to be drawn, as it was last told. @type {{picture: Sheet["picture"] | null} & Size} */
  #told = { picture: null, width: 0, height: 0 };
  #ended = new AbortController();

  /**
   * @param {HTMLElement} root  Empty; the editor fills it.
   * @param {{onchange?: () => void, onsize?: (size: Size) => void}} [told]
   *   onchange: the picture, the mask, the outpainting or the softness is another; onsize: a picture came in, or an edge
   *   was drawn out or in: how large it is with its edges, in its pixels; what is taken out leaves no size
   */
  constructor(root, { onchange = () => {}, onsize = () => {} } = {}) {
    this.root = root;
    this.onchange = onchange;
    this.onsize = onsize;
    this.help = h("p", { class: "sl-hidden", id: `sl-editor-${Math.random().toString(36).slice(2)}` }, t("editor.help"));
    this.drop = new Dropzone(root, (file) => this.#replace(file), this.#ended.signal);
    this.toolbar = new Toolbar((name) => this.#press(name));
    this.handles = new Handles({ change: (side, pixels) => this.#expand(side, pixels), end: () => this.#settle() });
    this.scene = new Scene(this.handles, this.help.id);
    this.brush = new Brush(this.scene, { painted: () => this.#changed(), say: (text) => this.#say(text) });
    this.sliders = makeSliders({
      size: (pixels) => ((this.brush.width = pixels), this.#refresh()),
      blur: (pixels) => (this.blur = pixels),
    });
    this.gestures = new Gestures(this.scene.stage, this.#hand());
    this.keys = new Keys(root, this.scene.stage, this.gestures, this.#keyed());
    this.#build();
  }

  /**
   * Show a picture; one that cannot be read is complained of, and all stays as it was.
   * @param {Blob | null} blob  null: none
   */
  async setPicture(blob) {
    const turn = ++this.#turn;
    this.#busy(blob !== null);
    if (!blob) return this.#show(null);
    try {
      const picture = await decode(blob);
      if (turn === this.#turn) this.#show({ picture, mask: new Mask(picture.size), sides: noSides() });
    } catch (error) {
      if (!(error instanceof DOMException)) throw error;
      if (turn === this.#turn) toast(t("editor.unreadable"), { kind: "error", hint: t("editor.unreadable.hint") });
    } finally {
      if (turn === this.#turn) this.#busy(false);
    }
  }

  /** The picture's own file, untouched. @returns {Blob | null} */
  get picture() {
    return this.#sheet?.picture.blob ?? null;
  }

  /** Of the picture, upright. @returns {Size | null} */
  get size() {
    return this.#sheet && { ...this.#sheet.picture.size };
  }

  /**
   * What is painted, as a PNG file of the picture's size: white where it is to be drawn anew, black elsewhere.
   * @returns {Promise<Blob | null>}  null: nothing is painted
   */
  async mask() {
    const mask = this.#sheet?.mask;
    return mask && !mask.empty ? mask.file() : null;
  }

  /**
   * Put a mask on the picture, which drops any outpainting; one of another shape is complained of.
   * @param {Blob | null} blob  Lightness counts, white is drawn anew; null: none
   * @throws {Error}  There is no picture.
   * @throws {DOMException}  The browser cannot read it.
   */
  async setMask(blob) {
    const sheet = this.#sheet;
    if (!sheet) throw new Error("A mask needs a picture under it.");
    const image = blob && (await createImageBitmap(blob));
    if (sheet !== this.#sheet) return; // another picture came meanwhile
    if (image && !alike(image, sheet.picture.size)) {
      toast(t("editor.shape", { mask: measured(image), picture: measured(sheet.picture.size) }), { kind: "error" });
      return;
    }
    this.#show({ picture: sheet.picture, mask: new Mask(sheet.picture.size, image), sides: image ? noSides() : sheet.sides });
  }

  /** How far the picture's edges are drawn out, in its pixels; null when none is. @returns {Sides | null} */
  get outpaint() {
    const sides = this.#sheet?.sides;
    return sides && anySide(sides) ? { ...sides } : null;
  }

  /**
   * Draw edges out, which drops any mask.
   * @param {Partial<Sides> | null} sides  in pixels of the picture, rounded to what can be; null: none
   * @throws {Error}  There is no picture.
   */
  setOutpaint(sides) {
    const sheet = this.#sheet;
    if (!sheet) throw new Error("Outpainting needs a picture.");
    const { picture } = sheet;
    const wanted = { ...noSides(), ...sides };
    for (const side of /** @type {(keyof Sides)[]} */ (Object.keys(noSides()))) wanted[side] = rounded(side, wanted[side], picture.size);
    this.#show({ picture, mask: anySide(wanted) ? new Mask(picture.size) : sheet.mask, sides: wanted });
  }

  /** What would be asked for. @returns {"none" | "image" | "inpaint" | "outpaint"} */
  get mode() {
    if (!this.#sheet) return "none";
    if (anySide(this.#sheet.sides)) return "outpaint";
    return this.#sheet.mask.empty ? "image" : "inpaint";
  }

  /** Softness of the mask's edge, in pixels of the picture: 0 to 64. */
  get blur() {
    return this.#blur;
  }

  set blur(pixels) {
    this.#blur = Math.min(SOFTEST, Math.max(0, Math.round(pixels)));
    this.#changed();
  }

  /** Leave the page as it was. */
  destroy() {
    this.#turn++;
    this.#ended.abort();
    for (const part of [this.scene, this.brush, this.gestures, this.keys]) part.destroy();
    this.root.replaceChildren();
    this.root.classList.remove("sl-editor", "sl-dropping", "sl-busy");
    this.root.removeAttribute("aria-busy");
  }

  #build() {
    this.note = h("p", { class: "sl-editor-note sl-hint" });
    this.said = h("p", { class: "sl-hidden", role: "status" });
    this.work = h(
      "div",
      { class: "sl-editor-work", hidden: true },
      this.toolbar.element, this.sliders.element, this.scene.element, this.help, this.note,
    );
    this.root.classList.add("sl-editor");
    this.root.append(
      this.drop.element, this.work, this.drop.input, this.said,
      h("p", { class: "sl-editor-over sl-drop", "aria-hidden": "true" }, t("editor.drop.here")),
      h("p", { class: "sl-editor-over sl-wait", "aria-hidden": "true" }, t("editor.reading")),
    );
  }

  /** @param {Sheet | null} sheet */
  #show(sheet) {
    this.#sheet = sheet;
    this.#tool = sheet && anySide(sheet.sides) ? "expand" : "brush";
    this.drop.element.hidden = !!sheet;
    if (this.work) this.work.hidden = !sheet;
    this.brush.show(sheet);
    this.scene.show(sheet);
    this.#changed();
    if (sheet) this.#say(t("editor.said.shown", { size: measured(sheet.picture.size) }));
  }

  /** Put in a file that the user gave, with a way back. @param {Blob} file */
  async #replace(file) {
    const before = this.#sheet;
    await this.setPicture(file);
    if (before && this.#sheet !== before && !before.mask.empty) this.#offerBack(t("editor.said.replaced"), before);
  }

  /** @param {Sheet} sheet */
  #remove(sheet) {
    this.setPicture(null);
    this.drop.element.querySelector("button")?.focus();
    this.#offerBack(t("editor.said.removed"), sheet);
  }

  /** @param {string} text @param {Sheet} sheet */
  #offerBack(text, sheet) {
    toast(text, { action: { label: t("editor.undo"), run: () => this.#ended.signal.aborted || this.#show(sheet) } });
  }

  /** @param {boolean} busy */
  #busy(busy) {
    this.root.classList.toggle("sl-busy", busy);
    this.root.setAttribute("aria-busy", String(busy));
  }

  /** Something is another: show it, and tell. */
  #changed() {
    this.#refresh();
    this.#tellSize();
    this.onchange();
  }

  /** Tell how large what is to be drawn is, where that is news. */
  #tellSize() {
    const picture = this.#sheet?.picture ?? null;
    const { width, height } = this.#sheet ? areaOf(this.#sheet.sides, this.#sheet.picture.size) : { width: 0, height: 0 };
    const before = this.#told;
    this.#told = { picture, width, height };
    if (picture && (picture !== before.picture || width !== before.width || height !== before.height)) this.onsize({ width, height });
  }

  /** Bring buttons, sliders and texts up to date. */
  #refresh() {
    if (!this.#sheet) return;
    const { picture, mask, sides } = this.#sheet;
    const tool = this.#tool;
    this.brush.erases = tool === "eraser";
    this.scene.roomy = tool === "expand";
    this.toolbar.update({ tool, hidden: this.scene.veiled, painted: !mask.empty, expanded: anySide(sides), canUndo: mask.canUndo, canRedo: mask.canRedo });
    this.sliders.element.hidden = tool === "expand";
    this.sliders.update({ brush: this.brush.width, blur: this.#blur, widest: this.brush.widest });
    this.scene.stage.classList.toggle("sl-painting", tool !== "expand");
    this.scene.stage.setAttribute("aria-label", t("editor.stage", { size: measured(picture.size) }));
    const says = this.mode === "image" && tool === "expand" ? "expand" : this.mode;
    this.note?.replaceChildren(t(`editor.note.${says}`, { size: measured(picture.size), area: measured(areaOf(sides, picture.size)) }));
  }

  /** Tell those who listen. @param {string} text */
  #say(text) {
    if (this.said) this.said.textContent = text;
  }

  /** @param {import("./editor/toolbar.js").Name} name */
  #press(name) {
    const sheet = this.#sheet;
    if (!sheet) return;
    switch (name) {
      case "hide": this.scene.veiled = !this.scene.veiled; return this.#refresh();
      case "reset": sheet.sides = noSides(); this.#say(t("editor.said.reset")); return this.#settle();
      case "in": return this.scene.zoom(ZOOM);
      case "out": return this.scene.zoom(1 / ZOOM);
      case "fit": return this.scene.fit();
      case "replace": return this.drop.choose();
      case "remove": return this.#remove(sheet);
      case "brush": case "eraser": case "expand": return this.#choose(name);
      default: return this.#edit(name);
    }
  }

  /** @param {import("./editor/toolbar.js").Tool} tool */
  #choose(tool) {
    if (!this.#sheet || (tool === "expand" ? !this.#sheet.mask.empty : anySide(this.#sheet.sides))) return;
    this.#tool = tool;
    if (tool === "expand") this.brush.hide();
    this.#refresh();
  }

  /** Change all of the mask. @param {"undo" | "redo" | "invert" | "clear"} how */
  #edit(how) {
    const mask = this.#sheet?.mask;
    if (!mask || mask.painting || this.#tool === "expand") return;
    mask[how]();
    this.scene.veiled = false;
    this.scene.draw({ mask: "all" });
    this.#say(t(`editor.said.${how}`));
    this.#changed();
  }

  /** An edge is drawn out, or in. @param {keyof Sides} side @param {number} pixels */
  #expand(side, pixels) {
    const sheet = this.#sheet;
    if (!sheet || !sheet.mask.empty) return;
    const length = rounded(side, pixels, sheet.picture.size);
    if (length === sheet.sides[side]) return;
    sheet.sides[side] = length;
    this.scene.follow();
    this.#refresh();
  }

  /** The edges stay as they are. */
  #settle() {
    if (this.scene.view.fitted) this.scene.fit();
    this.scene.draw({ picture: true });
    this.#changed();
  }

  /** @returns {import("./editor/gestures.js").Hand} */
  #hand() {
    const paints = () => this.#tool !== "expand";
    return {
      paints,
      begin: (at, event) => this.brush.begin(at, event),
      extend: (at, event) => this.brush.extend(at, event),
      end: () => this.brush.end(),
      cancel: () => this.brush.cancel(),
      move: (x, y) => this.scene.move(x, y),
      zoom: (by, at) => this.scene.zoom(by, at),
      hover: (at) => (at && paints() ? this.brush.hover(at) : this.brush.hide()),
    };
  }

  /** @returns {import("./editor/keys.js").Keyed} */
  #keyed() {
    return {
      choose: (tool) => this.#choose(tool),
      edit: (how) => this.#edit(how),
      grow: (way) => (this.brush.grow(way), this.#refresh()),
      go: (x, y) => this.#tool !== "expand" && this.brush.go(x, y),
      dab: () => this.brush.dab(),
      leave: () => this.brush.hide(),
    };
  }
}

/** @param {Size} one @param {Size} other */
const alike = (one, other) => Math.abs((one.width / one.height) * (other.height / other.width) - 1) < SAME;

/** @param {Size} size */
const measured = ({ width, height }) => `${number(width)} × ${number(height)}`;
