// The editor: open a picture, paint a mask on it, or extend its sides.

import { numberControl } from "./controls.js";
import { h } from "./core/dom.js";
import { formatNumber, t } from "./core/text.js";
import { toast } from "./core/toast.js";
import { Brush } from "./editor/brush.js";
import { Dropzone } from "./editor/dropzone.js";
import { Gestures } from "./editor/gestures.js";
import { expandedArea, Handles, isExpanded, roundLength, zeroSides } from "./editor/handles.js";
import { KeyboardControls } from "./editor/keyboard.js";
import { Mask } from "./editor/mask.js";
import { decode } from "./editor/picture.js";
import { Scene } from "./editor/scene.js";
import { makeSliders } from "./editor/sliders.js";
import { Toolbar } from "./editor/toolbar.js";

/** @typedef {import("./editor/handles.js").Sides} Sides */
/** @typedef {import("./editor/picture.js").Size} Size */
/** @typedef {import("./editor/scene.js").EditedPicture} EditedPicture */

const BLUR = numberControl("inpaint.blur"); // pixels of the picture
const ZOOM_STEP = 1.5; // factor per press
const SHAPE_TOLERANCE = 0.01; // relative difference of the aspect ratios of a picture and its mask

export class Editor {
  /** @type {EditedPicture | null} */
  #edited = null;
  /** @type {import("./editor/toolbar.js").Tool} */
  #tool = "brush";
  #blur = BLUR.initial;
  #loadCount = 0; // number of pictures opened, so that the last one wins
  /** The last values passed to onsize. @type {{picture: EditedPicture["picture"] | null} & Size} */
  #reportedArea = { picture: null, width: 0, height: 0 };
  #controller = new AbortController();

  /**
   * @param {HTMLElement} root  an empty element
   * @param {{onchange?: () => void, onsize?: (size: Size) => void}} [callbacks]
   *   onchange: the picture, the mask, the extension or the softness has changed; onsize: a picture was opened or a side
   *   extended: the size to generate, in pixels; not called when the picture is removed
   */
  constructor(root, { onchange = () => {}, onsize = () => {} } = {}) {
    this.root = root;
    this.onchange = onchange;
    this.onsize = onsize;
    this.help = h("p", { class: "sl-hidden", id: `sl-editor-${Math.random().toString(36).slice(2)}` }, t("editor.help"));
    this.dropzone = new Dropzone(root, (file) => this.#replace(file), this.#controller.signal);
    this.toolbar = new Toolbar((name) => this.#runCommand(name));
    this.handles = new Handles({ change: (side, pixels) => this.#setSide(side, pixels), end: () => this.#finishExpand() });
    this.scene = new Scene(this.handles, this.help.id);
    this.brush = new Brush(this.scene, { onpainted: () => this.#onEdited(), announce: (text) => this.#announce(text) });
    this.sliders = makeSliders(BLUR.maximum, {
      size: (pixels) => ((this.brush.width = pixels), this.#render()),
      blur: (pixels) => (this.blur = pixels),
    });
    this.gestures = new Gestures(this.scene.stage, this.#gestureHandlers());
    this.keyboard = new KeyboardControls(root, this.scene.stage, this.gestures, this.#keyboardHandlers());
    this.#mountElements();
  }

  /**
   * Open a picture; if it cannot be decoded, an error is shown and nothing changes.
   * @param {Blob | null} blob  null: remove the picture
   */
  async setPicture(blob) {
    const count = ++this.#loadCount;
    this.#setBusy(blob !== null);
    if (!blob) return this.#show(null);
    try {
      const picture = await decode(blob);
      if (count === this.#loadCount) this.#show({ picture, mask: new Mask(picture.size), sides: zeroSides() });
    } catch (error) {
      if (!(error instanceof DOMException)) throw error;
      if (count === this.#loadCount) toast(t("editor.unreadable"), { kind: "error", hint: t("editor.unreadable.hint") });
    } finally {
      if (count === this.#loadCount) this.#setBusy(false);
    }
  }

  /** The picture's original file. @returns {Blob | null} */
  get picture() {
    return this.#edited?.picture.blob ?? null;
  }

  /** The picture's size, upright. @returns {Size | null} */
  get size() {
    return this.#edited && { ...this.#edited.picture.size };
  }

  /**
   * The mask as a PNG file of the picture's size: white where it is to be regenerated, black elsewhere.
   * @returns {Promise<Blob | null>}  null: the mask is empty
   */
  async mask() {
    const mask = this.#edited?.mask;
    return mask && !mask.empty ? mask.file() : null;
  }

  /**
   * Set the mask, which resets any extension; a mask of another aspect ratio shows an error.
   * @param {Blob | null} blob  by lightness: white is regenerated; null: an empty mask
   * @throws {Error}  There is no picture.
   * @throws {DOMException}  The browser cannot decode it.
   */
  async setMask(blob) {
    const edited = this.#edited;
    if (!edited) throw new Error("A mask needs a picture under it.");
    const image = blob && (await createImageBitmap(blob));
    if (edited !== this.#edited) return; // another picture was opened meanwhile
    if (image && !sameShape(image, edited.picture.size)) {
      toast(t("editor.shape", { mask: formatSize(image), picture: formatSize(edited.picture.size) }), { kind: "error" });
      return;
    }
    this.#show({ picture: edited.picture, mask: new Mask(edited.picture.size, image), sides: image ? zeroSides() : edited.sides });
  }

  /** How far the sides are extended, in pixels of the picture; null if none is. @returns {Sides | null} */
  get outpaint() {
    const sides = this.#edited?.sides;
    return sides && isExpanded(sides) ? { ...sides } : null;
  }

  /**
   * Extend sides, which clears any mask.
   * @param {Partial<Sides> | null} sides  in pixels of the picture, rounded to allowed lengths; null: none
   * @throws {Error}  There is no picture.
   */
  setOutpaint(sides) {
    const edited = this.#edited;
    if (!edited) throw new Error("Outpainting needs a picture.");
    const { picture } = edited;
    const lengths = { ...zeroSides(), ...sides };
    for (const side of /** @type {(keyof Sides)[]} */ (Object.keys(zeroSides()))) lengths[side] = roundLength(side, lengths[side], picture.size);
    this.#show({ picture, mask: isExpanded(lengths) ? new Mask(picture.size) : edited.mask, sides: lengths });
  }

  /** The mode of the request that this would become. @returns {"none" | "image" | "inpaint" | "outpaint"} */
  get mode() {
    if (!this.#edited) return "none";
    if (isExpanded(this.#edited.sides)) return "outpaint";
    return this.#edited.mask.empty ? "image" : "inpaint";
  }

  /** Softness of the mask's edge, in pixels of the picture. */
  get blur() {
    return this.#blur;
  }

  set blur(pixels) {
    this.#blur = Math.min(BLUR.maximum, Math.max(BLUR.minimum, Math.round(pixels)));
    this.#onEdited();
  }

  /** Remove the editor and its listeners. */
  destroy() {
    this.#loadCount++;
    this.#controller.abort();
    for (const part of [this.scene, this.brush, this.gestures, this.keyboard]) part.destroy();
    this.root.replaceChildren();
    this.root.classList.remove("sl-editor", "sl-dropping", "sl-busy");
    this.root.removeAttribute("aria-busy");
  }

  #mountElements() {
    this.note = h("p", { class: "sl-editor-note sl-hint" });
    this.liveRegion = h("p", { class: "sl-hidden", role: "status" });
    this.workspace = h(
      "div",
      { class: "sl-editor-work", hidden: true },
      this.toolbar.element, this.sliders.element, this.scene.element, this.help, this.note,
    );
    this.root.classList.add("sl-editor");
    this.root.append(
      this.dropzone.element, this.workspace, this.dropzone.input, this.liveRegion,
      h("p", { class: "sl-editor-over sl-drop", "aria-hidden": "true" }, t("editor.drop.here")),
      h("p", { class: "sl-editor-over sl-wait", "aria-hidden": "true" }, t("editor.reading")),
    );
  }

  /** @param {EditedPicture | null} edited */
  #show(edited) {
    this.#edited = edited;
    this.#tool = edited && isExpanded(edited.sides) ? "expand" : "brush";
    this.dropzone.element.hidden = !!edited;
    if (this.workspace) this.workspace.hidden = !edited;
    this.brush.show(edited);
    this.scene.show(edited);
    this.#onEdited();
    if (edited) this.#announce(t("editor.said.shown", { size: formatSize(edited.picture.size) }));
  }

  /** Open a file that the user chose; can be undone. @param {Blob} file */
  async #replace(file) {
    const before = this.#edited;
    await this.setPicture(file);
    if (before && this.#edited !== before && !before.mask.empty) this.#offerUndo(t("editor.said.replaced"), before);
  }

  /** @param {EditedPicture} edited */
  #removePicture(edited) {
    this.setPicture(null);
    this.dropzone.element.querySelector("button")?.focus();
    this.#offerUndo(t("editor.said.removed"), edited);
  }

  /** @param {string} text @param {EditedPicture} edited */
  #offerUndo(text, edited) {
    toast(text, { action: { label: t("editor.undo"), run: () => this.#controller.signal.aborted || this.#show(edited) } });
  }

  /** @param {boolean} busy */
  #setBusy(busy) {
    this.root.classList.toggle("sl-busy", busy);
    this.root.setAttribute("aria-busy", String(busy));
  }

  /** Something has changed: render it and notify. */
  #onEdited() {
    this.#render();
    this.#reportSize();
    this.onchange();
  }

  /** Call onsize if the size to generate has changed. */
  #reportSize() {
    const picture = this.#edited?.picture ?? null;
    const { width, height } = this.#edited ? expandedArea(this.#edited.sides, this.#edited.picture.size) : { width: 0, height: 0 };
    const before = this.#reportedArea;
    this.#reportedArea = { picture, width, height };
    if (picture && (picture !== before.picture || width !== before.width || height !== before.height)) this.onsize({ width, height });
  }

  /** Update buttons, sliders and texts. */
  #render() {
    if (!this.#edited) return;
    const { picture, mask, sides } = this.#edited;
    const tool = this.#tool;
    this.brush.erasing = tool === "eraser";
    this.scene.expanding = tool === "expand";
    this.toolbar.update({ tool, hidden: this.scene.maskHidden, painted: !mask.empty, expanded: isExpanded(sides), canUndo: mask.canUndo, canRedo: mask.canRedo });
    this.sliders.element.hidden = tool === "expand";
    this.sliders.update({ brush: this.brush.width, blur: this.#blur, widest: this.brush.maxWidth });
    this.scene.stage.classList.toggle("sl-painting", tool !== "expand");
    this.scene.stage.setAttribute("aria-label", t("editor.stage", { size: formatSize(picture.size) }));
    const textKey = this.mode === "image" && tool === "expand" ? "expand" : this.mode;
    this.note?.replaceChildren(t(`editor.note.${textKey}`, { size: formatSize(picture.size), area: formatSize(expandedArea(sides, picture.size)) }));
  }

  /** Announce a text to screen readers. @param {string} text */
  #announce(text) {
    if (this.liveRegion) this.liveRegion.textContent = text;
  }

  /** @param {import("./editor/toolbar.js").CommandName} name */
  #runCommand(name) {
    const edited = this.#edited;
    if (!edited) return;
    switch (name) {
      case "hide": this.scene.maskHidden = !this.scene.maskHidden; return this.#render();
      case "reset": edited.sides = zeroSides(); this.#announce(t("editor.said.reset")); return this.#finishExpand();
      case "in": return this.scene.zoom(ZOOM_STEP);
      case "out": return this.scene.zoom(1 / ZOOM_STEP);
      case "fit": return this.scene.fit();
      case "replace": return this.dropzone.openFileDialog();
      case "remove": return this.#removePicture(edited);
      case "brush": case "eraser": case "expand": return this.#selectTool(name);
      default: return this.#editMask(name);
    }
  }

  /** @param {import("./editor/toolbar.js").Tool} tool */
  #selectTool(tool) {
    if (!this.#edited || (tool === "expand" ? !this.#edited.mask.empty : isExpanded(this.#edited.sides))) return;
    this.#tool = tool;
    if (tool === "expand") this.brush.hide();
    this.#render();
  }

  /** Apply a command to the whole mask. @param {"undo" | "redo" | "invert" | "clear"} command */
  #editMask(command) {
    const mask = this.#edited?.mask;
    if (!mask || mask.painting || this.#tool === "expand") return;
    mask[command]();
    this.scene.maskHidden = false;
    this.scene.requestDraw({ mask: "all" });
    this.#announce(t(`editor.said.${command}`));
    this.#onEdited();
  }

  /** Extend or shrink a side. @param {keyof Sides} side @param {number} pixels */
  #setSide(side, pixels) {
    const edited = this.#edited;
    if (!edited || !edited.mask.empty) return;
    const length = roundLength(side, pixels, edited.picture.size);
    if (length === edited.sides[side]) return;
    edited.sides[side] = length;
    this.scene.keepInView();
    this.#render();
  }

  /** The drag has ended. */
  #finishExpand() {
    if (this.scene.view.fitted) this.scene.fit();
    this.scene.requestDraw({ picture: true });
    this.#onEdited();
  }

  /** @returns {import("./editor/gestures.js").GestureHandlers} */
  #gestureHandlers() {
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

  /** @returns {import("./editor/keyboard.js").KeyboardHandlers} */
  #keyboardHandlers() {
    return {
      selectTool: (tool) => this.#selectTool(tool),
      editMask: (how) => this.#editMask(how),
      resizeBrush: (direction) => (this.brush.resize(direction), this.#render()),
      moveCursor: (x, y) => this.#tool !== "expand" && this.brush.moveCursor(x, y),
      paintAtCursor: () => this.brush.paintAtCursor(),
      leave: () => this.brush.hide(),
    };
  }
}

/** @param {Size} one @param {Size} other */
const sameShape = (one, other) => Math.abs((one.width / one.height) * (other.height / other.width) - 1) < SHAPE_TOLERANCE;

/** @param {Size} size */
const formatSize = ({ width, height }) => `${formatNumber(width)} × ${formatNumber(height)}`;
