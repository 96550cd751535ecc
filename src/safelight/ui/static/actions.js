// What can be done with any picture, wherever it is shown: use it, draw it again, vary it, enlarge it, edit it.

import { cardElement } from "./job_cards.js";
import { ApiError, get, post, read, request } from "./core/api.js";
import { copyText } from "./core/clipboard.js";
import { dialog } from "./core/dialog.js";
import { button, h } from "./core/dom.js";
import { fileUrl } from "./core/picture.js";
import { scrollToElement } from "./core/scroll.js";
import { formatNumber, t } from "./core/text.js";
import { showError, toast, withErrorToast } from "./core/toast.js";

/** @typedef {import("./types").GalleryEntry} Entry */

const VARIATION_STRENGTH = 0.2; // how much of another seed's noise "vary" mixes in
const REQUIRED_FIELDS = ["init_image", "mask", "checkpoint", "sampler", "schedule", "adapters", "width", "height", "steps"]; // without which it is another picture
const UPSCALE_FACTORS = [1.5, 2, 3, 4];
const UNDO_TIME = 7000; // milliseconds in which a deleted picture can be had back

/**
 * Everything a picture can be asked for.
 * @typedef {ReturnType<typeof makeActions>} Actions
 */

/**
 * @param {{form: import("./form.js").Form, jobStore: import("./core/job_store.js").JobStore, show: (tab: string) => void}} parts
 */
export function makeActions({ form, jobStore, show }) {
  /** Pictures that are to be deleted as soon as nobody can want them back. @type {Map<string, () => Promise<void> | void>} */
  const pendingDeletions = new Map();
  addEventListener("pagehide", () => pendingDeletions.forEach((now) => now()));

  /** Bring a part of Create into view, also from another tab, and the focus to it. @param {HTMLElement | null} target @param {HTMLElement | null} [focus]  if not to all of it */
  function showInCreate(target, focus = target) {
    void show("create");
    if (target) void scrollToElement(target, { focus });
  }

  /** What a picture's file says of how it was made. @param {string} id @returns {Promise<import("./types").RecallResult>} */
  async function recallPicture(id) {
    const blob = await (await request("GET", fileUrl(id))).blob();
    return read(await request("POST", "/v1/recall", { body: blob, headers: { "Content-Type": blob.type } }));
  }

  /** Fill the form with a picture's parameters, and say what could not be. @param {string} id */
  async function use(id) {
    const found = await recallPicture(id);
    showInCreate(document.querySelector("#sl-form"));
    form.recall(found);
  }

  /** The same again, with other fields in some places. @param {string} id @param {Record<string, any>} changes */
  async function generateAgain(id, changes) {
    const { source, fields, unfilled } = await recallPicture(id);
    if (source === "none") throw new ApiError({ code: "page.again", message: t("recall.nothing"), hint: t("recall.nothing.hint") }, 0);
    const missing = unfilled.filter(({ name }) => REQUIRED_FIELDS.includes(name));
    if (missing.some(({ name }) => name === "init_image" || name === "mask")) {
      throw new ApiError({ code: "page.again", message: t("again.needs_picture"), hint: t("again.needs_picture.hint") }, 0);
    }
    if (missing.length) {
      const hint = missing.map(({ name, value, reason }) => `${name}: ${value} (${reason})`).join(" · ");
      throw new ApiError({ code: "page.again", message: t("again.lacking"), hint }, 0);
    }
    const job = await post("/v1/jobs", { kind: "generate", ...fields, count: 1, ...changes });
    jobStore.add(job);
    showInCreate(cardElement(job.id));
  }

  /** @param {string} id @param {number} factor @param {string} upscaler */
  async function queueUpscale(id, factor, upscaler) {
    const data = new FormData();
    data.append("image", await (await request("GET", fileUrl(id))).blob(), "picture");
    data.append("request", JSON.stringify({ kind: "upscale", by: factor, upscaler }));
    jobStore.add(await read(await request("POST", "/v1/jobs", { body: data })));
    toast(t("upscale.queued"));
  }

  return {
    use,
    /** Draw it once more with its own seed. @param {string} id */
    sameSeed: (id) => generateAgain(id, {}),
    /** Draw four that are near to it. @param {string} id */
    vary: (id) =>
      generateAgain(id, {
        count: 4,
        variation: { seed: Math.floor(Math.random() * 2 ** 31), strength: VARIATION_STRENGTH, same_seed: true },
      }),
    /** Ask how it is to be enlarged, and queue that. @param {string} id */
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
    /** Put it into the editor. @param {string} id */
    async edit(id) {
      const blob = await (await request("GET", fileUrl(id))).blob();
      void show("create");
      await form.editPicture(blob);
      showInCreate(document.querySelector("#sl-editor"), document.querySelector("#sl-editor .sl-editor-stage"));
    },
    /** Copy its infotext. @param {string} id */
    async copy(id) {
      const entry = await get(`/v1/gallery/${id}`);
      await copyText(entry.infotext ?? entry.prompt);
      toast(t("copied"));
    },
    /** Make it a favourite, or not. @param {string} id @param {boolean} favourite @returns {Promise<Entry>} */
    async favourite(id, favourite) {
      return read(await request("PATCH", `/v1/gallery/${id}`, { json: { favourite } }));
    },
    /**
     * Delete it, unless it is wanted back within some seconds; leaving the page deletes it at once.
     * @param {string} id
     * @param {{hide: () => void, restore: () => void}} view  how to take it out of sight and put it back
     */
    remove(id, { hide, restore }) {
      hide();
      const deleteNow = () => {
        if (!pendingDeletions.delete(id)) return;
        return request("DELETE", `/v1/gallery/${id}`, { keepalive: true }).then(noop, (error) => {
          if (error.status === 404) return;
          restore();
          showError(error);
        });
      };
      pendingDeletions.set(id, deleteNow);
      const undo = () => {
        pendingDeletions.delete(id);
        restore();
      };
      toast(t("deleted"), { duration: UNDO_TIME, action: { label: t("undo"), run: undo }, onclose: deleteNow });
    },
    /** Delete what is to be deleted, without waiting any longer. */
    flushDeletions: () => Promise.all([...pendingDeletions.values()].map((now) => now())),
    /** Whether it is on its way out. @param {string} id */
    isBeingDeleted: (/** @type {string} */ id) => pendingDeletions.has(id),
  };
}

const noop = () => {};

/** A field to choose from. @param {[string, string][]} options  Values with their names. @param {string} chosen */
function selectField(options, chosen) {
  const has = options.some(([value]) => value === chosen);
  return h("select", { class: "sl-field" }, options.map(([value, name]) => h("option", { value, selected: has && value === chosen }, name)));
}
