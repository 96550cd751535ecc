// The editor: open a picture, paint a mask on it with brush, lasso, fill and a segmentation model, or extend its sides.

import { numberControl } from "./controls.js";
import { h } from "./core/dom.js";
import { formatNumber, t } from "./core/text.js";
import { toast } from "./core/toast.js";
import { Brush } from "./editor/brush.js";
import { Dropzone } from "./editor/dropzone.js";
import { Fill } from "./editor/fill.js";
import { Gestures } from "./editor/gestures.js";
import { expandedArea, Handles, isExpanded, roundLength, zeroSides } from "./editor/handles.js";
import { KeyboardControls } from "./editor/keyboard.js";
import { Lasso } from "./editor/lasso.js";
import { Mask } from "./editor/mask.js";
import { sameShape } from "./editor/output_size.js";
import { decode } from "./editor/picture.js";
import { Scene } from "./editor/scene.js";
import { Segment } from "./editor/segment.js";
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
  #covered = false; // whether there is a result, or one is awaited
  #erasing = false; // whether brush, lasso and fill subtract
  /** The gallery ids of pictures, by their files. @type {WeakMap<Blob, string>} */
  #parents = new WeakMap();
  /** Gallery ids of pictures that are deleted. @type {Set<string>} */
  #deleted = new Set();
  #blur = BLUR.initial;
  #loadCount = 0; // number of pictures opened, so that the last one wins
  /** The last values passed to onsize. @type {{picture: EditedPicture["picture"] | null} & Size} */
  #reportedArea = { picture: null, width: 0, height: 0 };
  #controller = new AbortController();

  /**
   * @param {HTMLElement} root  an empty element
   * @param {{onchange?: () => void, onsize?: (size: Size) => void, onopen?: (picture: Blob) => void, dropTarget?: HTMLElement, maskOnly?: boolean}} [options]
   *   onchange: the picture, the mask, the extension or the softness has changed; onsize: a picture was opened or a side
   *   extended: the size to generate, in pixels; not called when the picture is removed; onopen: the user has opened a picture;
   *   dropTarget: the element that takes dropped and pasted pictures, the root by default; maskOnly: the picture stays as
   *   it is, and its mask is for something else than inpainting
   */
  constructor(root, { onchange = () => {}, onsize = () => {}, onopen = () => {}, dropTarget = root, maskOnly = false } = {}) {
    this.root = root;
    this.onchange = onchange;
    this.onsize = onsize;
    this.onopen = onopen;
    this.help = h("p", { class: "sl-hidden", id: `sl-editor-${Math.random().toString(36).slice(2)}` }, t("editor.help"));
    this.dropTarget = dropTarget;
    this.dropzone = new Dropzone(dropTarget, (file) => this.open(file), this.#controller.signal);
    this.toolbar = new Toolbar((name) => this.run(name), maskOnly);
    this.handles = new Handles({ change: (side, pixels) => this.#setSide(side, pixels), end: () => this.#finishExpand() });
    this.scene = new Scene(this.handles, this.help.id);
    const callbacks = { onpainted: () => this.#onEdited(), announce: (/** @type {string} */ text) => this.#announce(text) };
    this.brush = new Brush(this.scene, callbacks);
    this.lasso = new Lasso(this.scene, callbacks);
    this.fill = new Fill(this.scene, callbacks);
    this.segment = new Segment(this.scene, { ...callbacks, onbusy: (busy) => this.scene.stage.classList.toggle("sl-segmenting", busy) });
    this.sliders = makeSliders(BLUR.maximum, {
      size: (pixels) => ((this.brush.width = pixels), this.#render()),
      blur: (pixels) => (this.blur = pixels),
      tolerance: (share) => ((this.fill.tolerance = share), this.#render()),
    });
    this.sliders.blur.hidden = maskOnly;
    this.gestures = new Gestures(this.scene.stage, this.#gestureHandlers());
    this.note = h("p", { class: "sl-editor-note sl-hint", hidden: maskOnly });
    this.liveRegion = h("p", { class: "sl-hidden", role: "status" });
    this.header = h("div", { class: "sl-editor-header" }, this.toolbar.element, this.sliders.element);
    this.footer = h("div", { class: "sl-editor-footer" }, this.note);
    this.workspace = h("div", { class: "sl-editor-work", hidden: true }, this.header, this.scene.element, this.help, this.footer);
    this.dropOverlay = h("p", { class: "sl-editor-over sl-drop", "aria-hidden": "true" }, t("editor.drop.here"));
    this.keyboard = new KeyboardControls(root, this.scene.stage, this.gestures, this.#keyboardHandlers());
    this.#mountElements();
  }

  /**
   * Open a picture that the user has chosen; what was painted on another one can be brought back.
   * @param {Blob} blob
   * @param {string | null} [parent]  its id in the gallery
   */
  async open(blob, parent = null) {
    const before = this.#edited;
    await this.setPicture(blob, parent);
    if (this.#edited?.picture.blob !== blob) return;
    this.onopen(blob);
    if (before && (!before.mask.empty || isExpanded(before.sides))) this.#offerUndo(t("editor.said.replaced"), before);
  }

  /**
   * Open a picture; if it cannot be decoded, an error is shown and nothing changes.
   * @param {Blob | null} blob  null: remove the picture
   * @param {string | null} [parent]  its id in the gallery; by default that with which this file was opened before
   */
  async setPicture(blob, parent = null) {
    const count = ++this.#loadCount;
    this.#setBusy(blob !== null);
    if (!blob) return this.#show(null);
    if (parent) this.#parents.set(blob, parent);
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

  /** The picture's id in the gallery, if it is from there, and not deleted. @returns {string | null} */
  get parent() {
    const parent = this.picture && this.#parents.get(this.picture);
    return parent && !this.#deleted.has(parent) ? parent : null;
  }

  /** A picture of the gallery was deleted, or that was undone. @param {string} id @param {boolean} deleted */
  setDeleted(id, deleted) {
    if (deleted) this.#deleted.add(id);
    else this.#deleted.delete(id);
  }

  /** A small copy of the picture, for the screen. @returns {ImageBitmap | null} */
  get smallest() {
    return this.#edited?.picture.levels.at(-1) ?? null;
  }

  /** The picture with its extensions, in pixels. @returns {Size | null} */
  get area() {
    if (!this.#edited) return null;
    const { width, height } = expandedArea(this.#edited.sides, this.#edited.picture.size);
    return { width, height };
  }

  /** What is edited, to be kept over a reload. @returns {Promise<import("./editor/storage.js").StoredEdits | null>} */
  async stored() {
    const edited = this.#edited;
    return edited && { mask: await edited.mask.stored(), sides: { ...edited.sides }, blur: this.#blur };
  }

  /**
   * Show what was edited before a reload, unless a picture was opened meanwhile. The size to generate is not reported.
   * @param {import("./editor/storage.js").StoredPicture} picture
   * @param {import("./editor/storage.js").StoredEdits} edits
   * @throws {DOMException}  The browser cannot decode it.
   */
  async restore({ blob, parent }, { mask, sides, blur }) {
    const count = this.#loadCount;
    const [picture, image] = await Promise.all([decode(blob), mask && createImageBitmap(mask)]);
    if (count !== this.#loadCount || this.#edited) return;
    if (parent) this.#parents.set(blob, parent);
    this.#blur = blur;
    const edited = { picture, mask: new Mask(picture.size, image), sides };
    const { width, height } = expandedArea(sides, picture.size);
    this.#reportedArea = { picture, width, height };
    this.#show(edited);
  }

  /** Remove the picture; can be undone. */
  remove() {
    if (this.#edited) this.#removePicture(this.#edited);
  }

  /** Returns a function that shows again what is edited now. @returns {() => void} */
  snapshot() {
    const edited = this.#edited;
    return () => this.#controller.signal.aborted || this.#show(edited);
  }

  /**
   * Lay a result over the picture, or wait for one: meanwhile the picture can be moved, but not painted on.
   * @param {Parameters<Scene["showResult"]>[0]} result  null: there is none
   * @param {boolean} [waiting]  for a result
   */
  showResult(result, waiting = !!result) {
    this.#covered = waiting;
    this.lasso.cancel();
    this.scene.showResult(result);
    this.root.classList.toggle("sl-with-result", !!result);
    this.root.classList.toggle("sl-covered", waiting);
    this.#render();
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
    if (image && !sameShape(image, edited.picture.size, SHAPE_TOLERANCE)) {
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

  /** Offer the tool that picks out what is at a point. @param {import("./editor/segment.js").Segmentation} segmentation */
  offerSegmentation(segmentation) {
    this.segment.segmentation = segmentation;
    this.toolbar.buttons.segment.hidden = false;
  }

  /** Remove the editor and its listeners. */
  destroy() {
    this.#loadCount++;
    this.#controller.abort();
    for (const part of [this.scene, this.brush, this.gestures, this.keyboard]) part.destroy();
    this.root.replaceChildren();
    this.dropOverlay.remove();
    this.dropTarget.classList.remove("sl-dropping");
    this.root.classList.remove("sl-editor", "sl-busy", "sl-covered", "sl-with-result");
    this.root.removeAttribute("aria-busy");
  }

  #mountElements() {
    this.dropTarget.append(this.dropOverlay);
    this.root.classList.add("sl-editor");
    this.root.append(
      this.dropzone.element, this.workspace, this.dropzone.input, this.liveRegion,
      h("p", { class: "sl-editor-over sl-wait", "aria-hidden": "true" }, t("editor.reading")),
    );
  }

  /** @param {EditedPicture | null} edited */
  #show(edited) {
    this.#edited = edited;
    this.#tool = edited && isExpanded(edited.sides) ? "expand" : "brush";
    this.dropzone.element.hidden = !!edited;
    this.workspace.hidden = !edited;
    for (const painter of [this.brush, this.lasso, this.fill, this.segment]) painter.show(edited);
    this.scene.show(edited);
    this.#onEdited();
    if (edited) this.#announce(t("editor.said.shown", { size: formatSize(edited.picture.size) }));
  }

  /** @param {EditedPicture} edited */
  #removePicture(edited) {
    void this.setPicture(null);
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
    this.brush.erasing = this.#erasing;
    this.scene.expanding = tool === "expand";
    this.toolbar.update({ tool, erasing: this.#erasing, hidden: this.scene.maskHidden, painted: !mask.empty, expanded: isExpanded(sides), canUndo: mask.canUndo, canRedo: mask.canRedo });
    this.sliders.element.hidden = tool === "expand";
    this.sliders.update({ tool, brush: this.brush.width, blur: this.#blur, widest: this.brush.maxWidth, tolerance: this.fill.tolerance });
    this.scene.stage.classList.toggle("sl-painting", this.#paints);
    this.scene.stage.setAttribute("aria-label", t("editor.stage", { size: formatSize(picture.size) }));
    const textKey = this.mode === "image" && tool !== "brush" ? tool : this.mode;
    this.note.replaceChildren(t(`editor.note.${textKey}`, { size: formatSize(picture.size), area: formatSize(expandedArea(sides, picture.size)) }));
  }

  /** Announce a text to screen readers. @param {string} text */
  #announce(text) {
    this.liveRegion.textContent = text;
  }

  /** Run a command of the toolbar. @param {import("./editor/toolbar.js").CommandName} name */
  run(name) {
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
      case "brush": case "eraser": case "lasso": case "fill": case "segment": case "expand": return this.#selectTool(name);
      default: return this.#editMask(name);
    }
  }

  /** @param {1 | -1} direction */
  resizeBrush(direction) {
    this.brush.resize(direction);
    this.#render();
  }

  /** Whether a press on the stage paints. */
  get #paints() {
    return this.#tool !== "expand" && !this.#covered;
  }

  /** @param {import("./editor/toolbar.js").ToolCommand} command */
  #selectTool(command) {
    if (command === "segment" && !this.segment.segmentation) return;
    if (!this.#edited || (command === "expand" ? !this.#edited.mask.empty : isExpanded(this.#edited.sides))) return;
    this.lasso.cancel();
    if (command === "eraser") this.#erasing = this.#tool === "expand" || !this.#erasing;
    if (command === "brush") this.#erasing = false;
    if (command !== "eraser") this.#tool = command;
    else if (this.#tool === "expand") this.#tool = "brush";
    if (this.#tool !== "brush") this.brush.hide();
    this.#render();
  }

  /** Apply a command to the whole mask. @param {"undo" | "redo" | "invert" | "clear"} command */
  #editMask(command) {
    const mask = this.#edited?.mask;
    if (!mask || mask.painting || !this.#paints) return;
    this.lasso.cancel();
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
    const toPicture = (/** @type {import("./editor/viewport.js").Point} */ at) => this.scene.view.toPicture(at);
    return {
      paints: () => this.#paints,
      begin: (at, event) => (this.#tool === "brush" ? this.brush.begin(at, event) : this.#areaTool.begin(toPicture(at), this.brush.erases(event) || (this.#tool === "segment" && event.shiftKey))),
      extend: (at, event) => (this.#tool === "brush" ? this.brush.extend(at, event) : this.#tool === "lasso" && this.lasso.extend(toPicture(at))),
      end: () => (this.#tool === "brush" ? this.brush : this.#areaTool).end(),
      cancel: () => (this.#tool === "brush" ? this.brush : this.#areaTool).cancel(),
      move: (x, y) => this.scene.move(x, y),
      zoom: (by, at) => this.scene.zoom(by, at),
      hover: (at) => (at && this.#paints && this.#tool === "brush" ? this.brush.hover(at) : this.#tool === "brush" && this.brush.hide()),
    };
  }

  /** The tool that paints an area at once. */
  get #areaTool() {
    return this.#tool === "lasso" ? this.lasso : this.#tool === "segment" ? this.segment : this.fill;
  }

  /** @returns {import("./editor/keyboard.js").KeyboardHandlers} */
  #keyboardHandlers() {
    return {
      selectTool: (tool) => this.#covered || this.#selectTool(tool),
      editMask: (how) => this.#editMask(how),
      resizeBrush: (direction) => this.resizeBrush(direction),
      moveCursor: (x, y) => this.#paints && this.brush.moveCursor(x, y),
      paintAtCursor: () => this.#paintAtCursor(),
      cancel: () => this.lasso.drawing && (this.lasso.cancel(), true),
      leave: () => this.brush.hide(),
    };
  }

  #paintAtCursor() {
    const { cursor } = this.brush;
    if (!cursor || !this.#paints) return;
    if (this.#tool === "brush") this.brush.paintAtCursor();
    else if (this.#tool === "lasso") this.lasso.addCorner(cursor, this.#erasing);
    else if (this.#tool === "segment") void this.segment.pickAt(cursor, this.#erasing);
    else this.fill.fillAt(cursor, this.#erasing);
  }
}

/** @param {Size} size */
const formatSize = ({ width, height }) => `${formatNumber(width)} × ${formatNumber(height)}`;
