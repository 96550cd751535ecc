// The tool that picks out what is at a point: a segmentation model of the server makes the mask of all points that were pressed.

import { t } from "../core/text.js";
import { showError } from "../core/toast.js";

/** @typedef {import("./viewport.js").Point} Point */
/** @typedef {import("./scene.js").EditedPicture} EditedPicture */
/** @typedef {Point & {inside: boolean}} SegmentPoint  in pixels of the picture; inside: whether it belongs to what is picked out */
/** @typedef {(picture: Blob, points: SegmentPoint[], signal: AbortSignal) => Promise<Blob>} Segmentation  makes a mask: white where it is */

export class Segment {
  /** What makes the masks; null: the server has no model for it. @type {Segmentation | null} */
  segmentation = null;
  /** @type {EditedPicture | null} */
  #edited = null;
  /** @type {{at: Point, erase: boolean} | null} */
  #press = null;
  /** @type {SegmentPoint[]} */
  #points = [];
  #changes = -1; // of the mask, when the points were those of what it shows
  #running = new AbortController();

  /** @param {import("./scene.js").Scene} scene @param {{onpainted: () => void, announce: (text: string) => void, onbusy: (busy: boolean) => void}} callbacks */
  constructor(scene, callbacks) {
    this.scene = scene;
    this.callbacks = callbacks;
  }

  /** @param {EditedPicture | null} edited */
  show(edited) {
    this.#running.abort();
    this.#edited = edited;
    this.#press = null;
    this.#points = [];
  }

  /** @param {Point} at  in pixels of the picture @param {boolean} erase */
  begin(at, erase) {
    this.#press = { at, erase };
  }

  end() {
    if (this.#press) void this.pickAt(this.#press.at, this.#press.erase);
    this.#press = null;
  }

  cancel() {
    this.#press = null;
  }

  /** Add a point, and make the mask of all of them; one that was painted on since begins anew. @param {Point} at  in pixels of the picture @param {boolean} erase  whether the point is to lie outside */
  async pickAt(at, erase) {
    const edited = this.#edited;
    const { width, height } = edited?.picture.size ?? { width: 0, height: 0 };
    if (!edited || !this.segmentation || edited.mask.painting || at.x < 0 || at.y < 0 || at.x >= width || at.y >= height) return;
    const before = edited.mask.changes === this.#changes ? this.#points : [];
    const points = [...before, { ...at, inside: !erase }];
    if (!points.some(({ inside }) => inside)) return;
    this.#running.abort();
    const { signal } = (this.#running = new AbortController());
    this.#points = points;
    this.#changes = edited.mask.changes;
    this.callbacks.onbusy(true);
    try {
      const image = await createImageBitmap(await this.segmentation(edited.picture.blob, points, signal));
      if (signal.aborted || edited !== this.#edited) return;
      edited.mask.replace(image);
      this.#changes = edited.mask.changes;
      this.scene.maskHidden = false;
      this.scene.requestDraw({ mask: "all" });
      this.callbacks.announce(t(erase ? "editor.said.erased" : "editor.said.picked"));
      this.callbacks.onpainted();
    } catch (error) {
      if (signal.aborted) return;
      this.#points = before;
      showError(error);
    } finally {
      if (!signal.aborted) this.callbacks.onbusy(false);
    }
  }
}
