// Actions on any picture, wherever it is shown: reuse its parameters, generate it again, vary, upscale or edit it.

import { ApiError, get, post, read, readBlob, request } from "./core/api.js";
import { copyText } from "./core/clipboard.js";
import { dialog } from "./core/dialog.js";
import { button, h } from "./core/dom.js";
import { fileUrl } from "./core/picture.js";
import { scrollToElement } from "./core/scroll.js";
import { formatNumber, t } from "./core/text.js";
import { showError, toast, withErrorToast } from "./core/toast.js";
import { showPane } from "./panes.js";

/** @typedef {import("./types").GalleryEntry} GalleryEntry */

const VARIATION_STRENGTH = 0.2; // share of another seed's noise that "vary" mixes in
/** Names that recall reports although the picture does not depend on them; Postprocess is an upscaling of the finished picture. */
const HARMLESS = /^(prompt as it was written|left out|Left out|Postprocess .*)$/;
const UPSCALE_FACTORS = [1.5, 2, 3, 4];
const UNDO_TIME = 7000; // milliseconds during which a deletion can be undone

/**
 * The actions on a picture.
 * @typedef {ReturnType<typeof makeActions>} Actions
 */

/**
 * @param {{form: import("./form.js").Form, jobStore: import("./core/job_store.js").JobStore, show: (tab: string) => void}} parts
 */
export function makeActions({ form, jobStore, show }) {
  /** Deletions that can still be undone, by picture id. @type {Map<string, () => Promise<void> | void>} */
  const pendingDeletions = new Map();
  addEventListener("pagehide", () => pendingDeletions.forEach((now) => now()));

  /** Show a part of the form, also from another tab, and focus it. @param {HTMLElement | null} target @param {HTMLElement | null} [focus]  the element to focus; target by default */
  function showInForm(target, focus = target) {
    void show("create");
    showPane("form");
    if (target) void scrollToElement(target, { focus });
  }

  /** Show the stage, also from another tab. */
  function showStage() {
    void show("create");
    showPane("stage");
  }

  /** Read the generation parameters from a picture's file. @param {string} id @returns {Promise<import("./types").RecallResult>} */
  async function recallPicture(id) {
    const blob = await readBlob(await request("GET", fileUrl(id)));
    return read(await request("POST", "/v1/recall", { body: blob, headers: { "Content-Type": blob.type } }));
  }

  /** Fill the form with a picture's parameters, and list those that could not be filled in. @param {string} id */
  async function use(id) {
    const recalled = await recallPicture(id);
    showInForm(document.querySelector("#sl-form"));
    form.recall(recalled);
  }

  /** Generate a picture again with some parameters changed. @param {string} id @param {Record<string, any>} changes */
  async function generateAgain(id, changes) {
    const { source, fields, unfilled } = await recallPicture(id);
    if (source === "none") throw new ApiError({ code: "page.again", message: t("recall.nothing"), hint: t("recall.nothing.hint") }, 0);
    const missing = missingFields(unfilled);
    if (missing.some(({ name }) => name === "init_image" || name === "mask")) {
      throw new ApiError({ code: "page.again", message: t("again.needs_picture"), hint: t("again.needs_picture.hint") }, 0);
    }
    if (missing.length) {
      const hint = missing.map(({ name, value, reason }) => `${name}: ${value} (${reason})`).join(" · ");
      throw new ApiError({ code: "page.again", message: t("again.lacking"), hint }, 0);
    }
    const job = await post("/v1/jobs", { kind: "generate", ...fields, count: 1, ...changes });
    jobStore.add(job);
    showStage();
  }

  /** @param {string} id @param {number} factor @param {string} upscaler */
  async function queueUpscale(id, factor, upscaler) {
    const data = new FormData();
    data.append("image", await readBlob(await request("GET", fileUrl(id))), "picture");
    data.append("request", JSON.stringify({ kind: "upscale", by: factor, upscaler }));
    jobStore.add(await read(await request("POST", "/v1/jobs", { body: data })));
    showStage();
  }

  return {
    use,
    /** Generate it again with the same seed. @param {string} id */
    sameSeed: (id) => generateAgain(id, {}),
    /** Generate four variations of it. @param {string} id */
    vary: (id) =>
      generateAgain(id, {
        count: 4,
        variation: { seed: Math.floor(Math.random() * 2 ** 31), strength: VARIATION_STRENGTH, same_seed: true },
      }),
    /** Ask for the scale factor and the upscaler, and queue an upscale job. @param {string} id */
    async upscale(id) {
      const { data } = await get("/v1/models?kind=upscaler");
      const names = data.map((/** @type {import("./types").Model} */ model) => model.id);
      const factor = selectField(UPSCALE_FACTORS.map((by) => [String(by), `× ${formatNumber(by)}`]), "2");
      const upscaler = selectField(names.map((/** @type {string} */ name) => [name, name]), "lanczos");
      const box = dialog(
        t("upscale.title"),
        h("label", { class: "sl-line" }, t("upscale.by"), factor),
        h("label", { class: "sl-line" }, t("upscale.upscaler"), upscaler),
        h("div", { class: "sl-bar" }, h("span"), button({
          icon: "enlarge", label: t("upscale.go"), kind: "primary",
          onclick: withErrorToast(async () => (box.close(), await queueUpscale(id, Number(factor.value), upscaler.value))),
        })),
      );
    },
    /** Open it in the editor. @param {string} id */
    async edit(id) {
      const blob = await readBlob(await request("GET", fileUrl(id)));
      void show("create");
      await form.editPicture(blob);
      showInForm(document.querySelector("#sl-editor"), document.querySelector("#sl-editor .sl-editor-stage"));
    },
    /** Copy its infotext to the clipboard. @param {string} id */
    async copy(id) {
      const entry = await get(`/v1/gallery/${id}`);
      await copyText(entry.infotext ?? entry.prompt);
      toast(t("copied"));
    },
    /** Mark it as a favourite, or unmark it. @param {string} id @param {boolean} favourite @returns {Promise<GalleryEntry>} */
    async favourite(id, favourite) {
      return read(await request("PATCH", `/v1/gallery/${id}`, { json: { favourite } }));
    },
    /**
     * Delete pictures after a few seconds in which the user can undo it; leaving the page deletes them at once.
     * @param {string | string[]} ids  one deletion, that is undone as a whole
     * @param {{hide: () => void, restore: () => void}} view  hide and show them in the caller's view
     */
    remove(ids, { hide, restore }) {
      const all = [ids].flat();
      hide();
      const forget = () => all.filter((id) => pendingDeletions.get(id) === deleteNow && pendingDeletions.delete(id)).length > 0;
      const deleteNow = async () => {
        if (!forget()) return;
        try {
          const { results } = await read(await request("POST", "/v1/gallery/delete", { json: { ids: all }, keepalive: true }));
          const failed = results.find((/** @type {{error: import("./types").ErrorBody | null}} */ { error }) => error && error.code !== "gallery.missing");
          if (failed) throw new ApiError(failed.error, 0);
        } catch (error) {
          restore();
          showError(error);
        }
      };
      for (const id of all) pendingDeletions.set(id, deleteNow);
      const undo = () => {
        forget();
        restore();
      };
      toast(t("deleted", { n: all.length }), { duration: UNDO_TIME, action: { label: t("undo"), run: undo }, onclose: deleteNow });
    },
    /** Delete everything that is still waiting for an undo, at once. */
    flushDeletions: () => Promise.all([...pendingDeletions.values()].map((now) => now())),
    /** Whether it will be deleted unless the user undoes it. @param {string} id */
    isBeingDeleted: (/** @type {string} */ id) => pendingDeletions.has(id),
  };
}

/** The fields without which another picture would be generated. @param {import("./types").RecallResult["unfilled"]} unfilled */
export const missingFields = (unfilled) => unfilled.filter(({ name }) => !HARMLESS.test(name));

/** A select element. @param {[string, string][]} options  values with their labels @param {string} chosen */
function selectField(options, chosen) {
  const has = options.some(([value]) => value === chosen);
  return h("select", { class: "sl-field" }, options.map(([value, name]) => h("option", { value, selected: has && value === chosen }, name)));
}
