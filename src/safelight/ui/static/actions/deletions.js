// Deletions that can be undone for some seconds; leaving the page carries them out at once.

import { read, request } from "../core/api.js";
import { t } from "../core/text.js";
import { showError, toast } from "../core/toast.js";

/** @typedef {{hide: () => void, restore: () => void}} DeletionView  hides and restores pictures in the view that they were deleted from */
/** @typedef {{ids: string[], view: DeletionView}} Deletion */

const UNDO_TIME = 10_000; // milliseconds after the last deletion
const MAX_IDS = 1000; // pictures that one request deletes

export class Deletions {
  /** Those that can be undone, oldest first. @type {Deletion[]} */
  #pending = [];
  /** Ids of pictures whose deletion the server has not confirmed. @type {Set<string>} */
  #sent = new Set();
  /** @type {import("../core/toast.js").Toast | null} */
  #toast = null;

  constructor() {
    addEventListener("pagehide", () => void this.flush());
  }

  /** Whether there is a deletion to undo. */
  get canUndo() {
    return this.#pending.length > 0;
  }

  /** Whether a picture will be deleted unless the user undoes it. @param {string} id */
  has(id) {
    return this.#sent.has(id) || this.#pending.some(({ ids }) => ids.includes(id));
  }

  /** Delete pictures after a time in which the user can undo it. @param {string[]} ids @param {DeletionView} view */
  add(ids, view) {
    view.hide();
    this.#pending.push({ ids, view });
    this.#showToast();
  }

  /** Undo the last deletion. */
  undo() {
    this.#pending.pop()?.view.restore();
    this.#showToast();
  }

  /** Delete everything that could still be undone. */
  async flush() {
    const deletions = this.#pending.splice(0);
    this.#showToast();
    const views = new Map(deletions.flatMap(({ ids, view }) => ids.map((id) => [id, view])));
    const ids = [...views.keys()];
    for (const id of ids) this.#sent.add(id);
    const requests = [];
    for (let at = 0; at < ids.length; at += MAX_IDS) requests.push(this.#delete(ids.slice(at, at + MAX_IDS), views));
    await Promise.all(requests);
  }

  /** @param {string[]} ids @param {Map<string, DeletionView>} views */
  async #delete(ids, views) {
    /** @type {Set<DeletionView>} */
    const failed = new Set();
    try {
      const { results } = await read(await request("POST", "/v1/gallery/delete", { json: { ids }, keepalive: true }));
      for (const { id, error } of results) if (error && error.code !== "gallery.missing") failed.add(/** @type {DeletionView} */ (views.get(id)));
      if (failed.size) toast(t("deleted.failed"), { kind: "error" });
    } catch (error) {
      for (const id of ids) failed.add(/** @type {DeletionView} */ (views.get(id)));
      showError(error);
    } finally {
      for (const id of ids) this.#sent.delete(id);
      for (const view of failed) view.restore();
    }
  }

  #undoAll() {
    this.#toast = null;
    for (const { view } of this.#pending.splice(0).reverse()) view.restore();
  }

  /** Say how many pictures are deleted, in one message; it begins anew with each. */
  #showToast() {
    const n = this.#pending.reduce((sum, { ids }) => sum + ids.length, 0);
    if (!n) {
      this.#toast?.remove();
      this.#toast = null;
    } else if (this.#toast) {
      this.#toast.setText(t("deleted", { n }));
    } else {
      const onclose = () => {
        this.#toast = null;
        void this.flush();
      };
      this.#toast = toast(t("deleted", { n }), { duration: UNDO_TIME, action: { label: t("undo"), run: () => this.#undoAll() }, onclose });
    }
  }
}
