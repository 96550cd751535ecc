// Actions on any picture, wherever it is shown: reuse its parameters, generate it again, vary, upscale or edit it.

import { inputsOf, keepInputs } from "./actions/inputs.js";
import { Deletions } from "./actions/deletions.js";
import { ApiError, get, post, read, readBlob, request } from "./core/api.js";
import { copyPicture, copyText } from "./core/clipboard.js";
import { fileUrl } from "./core/picture.js";
import { registerShortcut } from "./core/shortcuts.js";
import { scrollToElement } from "./core/scroll.js";
import { t } from "./core/text.js";
import { toast, withErrorToast } from "./core/toast.js";
import { LISTS, listField } from "./form/list_field.js";
import { showPane } from "./panes.js";

/** @typedef {import("./types").GalleryEntry} GalleryEntry */

/** Names that recall reports of an upscaling of the finished picture. */
const UPSCALED = /^Postprocess /;
/** Names that recall reports although the picture does not depend on them. */
const HARMLESS = /^(prompt as it was written|left out|Left out|Postprocess .*)$/;
/** How variations and enlarged pictures are asked for; loaded with the first of them. */
const loadChoices = () => import("./actions/choices.js");

/**
 * The actions on a picture.
 * @typedef {ReturnType<typeof makeActions>} Actions
 */

/**
 * @param {{form: import("./form.js").Form, jobStore: import("./core/job_store.js").JobStore, owner: string, show: (tab: string) => void}} parts
 */
export function makeActions({ form, jobStore, owner, show }) {
  const deletions = new Deletions();
  registerShortcut("Ctrl+z", "keys.undo", () => deletions.undo(), { isActive: () => deletions.canUndo });

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
    const pictures = recalled.unfilled.some(({ name }) => isPictureOfList(name)) || recalled.fields.control?.length ? await listPictures(id) : {};
    showInForm(document.querySelector("#sl-form"));
    form.recall({ ...recalled, unfilled: recalled.unfilled.filter(({ name }) => !UPSCALED.test(name)) }, pictures);
  }

  /** The pictures and masks of a picture's control units, references and regions, as far as this browser has them. @param {string} id @returns {Promise<import("./form.js").RecalledPictures>} */
  async function listPictures(id) {
    const [{ job_id }, { keptMasks, keptPictures }] = await Promise.all([get(`/v1/gallery/${id}`), import("./control/kept_pictures.js")]);
    const kept = job_id ? await inputsOf(job_id, owner) : null;
    const [control, references] = await Promise.all([keptPictures(kept?.control ?? []), keptPictures(kept?.references ?? [])]);
    return { control, references, regions: keptMasks(kept?.regions ?? []) };
  }

  /** Generate a picture again with some parameters changed. @param {string} id @param {Record<string, any>} changes */
  async function generateAgain(id, changes) {
    const [{ source, fields, unfilled }, entry] = await Promise.all([recallPicture(id), get(`/v1/gallery/${id}`)]);
    if (source === "none") throw new ApiError({ code: "page.again", message: t("recall.nothing"), hint: t("recall.nothing.hint") }, 0);
    const missing = missingFields(unfilled);
    /** @type {Set<string>} */
    const needed = new Set(missing.map(({ name }) => name).filter((name) => name === "init_image" || name === "mask" || isPictureOfList(name)));
    const others = missing.filter(({ name }) => !needed.has(name));
    if (others.length) {
      const hint = others.map(({ name, value, reason }) => `${name}: ${value} (${reason})`).join(" · ");
      throw new ApiError({ code: "page.again", message: t("again.lacking"), hint }, 0);
    }
    const start = needed.size ? await findInputs(entry, needed, fields) : { parent: id };
    const request = { kind: /** @type {const} */ ("generate"), ...fields, count: 1, ...start, ...changes };
    const job = await post("/v1/jobs", request);
    void keepInputs(job, request);
    jobStore.add(job);
    showStage();
  }

  /**
   * The picture and mask that a picture was generated from: its parent in the gallery, or what this browser has kept.
   * @param {GalleryEntry} entry
   * @param {Set<string>} needed  init_image, mask, control[0].image …
   * @param {import("./types").Fields} fields  the recalled ones
   * @returns {Promise<Record<string, any>>}  fields of the request
   */
  async function findInputs(entry, needed, fields) {
    const lacks = (/** @type {string} */ key) => new ApiError({ code: "page.again", message: t(key), hint: t("again.needs_picture.hint") }, 0);
    const made = entry.relation === "upscale" ? (entry.parent_id ? await get(`/v1/gallery/${entry.parent_id}`) : null) : entry;
    if (!made) throw lacks("again.needs_picture");
    const kept = made.job_id ? await inputsOf(made.job_id, owner) : null;
    const lists = Object.fromEntries(LISTS.flatMap((name) => {
      const items = withPictures(name, fields[name] ?? [], needed, kept?.[name] ?? []);
      if (!items) throw lacks(`again.needs_${name}`);
      return items.length ? [[name, items]] : [];
    }));
    if (!needed.has("init_image") && !needed.has("mask")) return { parent: entry.id, ...lists };
    const parent = made.relation === "edit" ? made.parent_id : null;
    const init_image = parent ? `gallery:${parent}` : kept?.init_image;
    if (!init_image) throw lacks("again.needs_picture");
    if (needed.has("mask") && !kept?.mask) throw lacks("again.needs_mask");
    return { init_image, ...(needed.has("mask") && { mask: kept?.mask ?? "" }), ...(parent && { parent }), ...lists };
  }

  /** Generate variations of a picture. @param {string} id @param {import("./actions/choices.js").Variations} [variations] */
  async function vary(id, variations) {
    const { count, strength } = variations ?? (await loadChoices()).lastVariations();
    return generateAgain(id, { count, variation: { seed: Math.floor(Math.random() * 2 ** 31), strength, same_seed: true } });
  }

  /** Upscale a picture; the server reads it from the gallery. @param {string} id @param {import("./actions/choices.js").Upscaling} [upscaling] */
  async function upscale(id, upscaling) {
    const { by, upscaler } = upscaling ?? (await (await loadChoices()).lastUpscaling());
    jobStore.add(await post("/v1/jobs", { kind: "upscale", parent: id, by, upscaler }));
    showStage();
  }

  return {
    use,
    /** Generate it again with the same seed. @param {string} id */
    sameSeed: (id) => generateAgain(id, {}),
    vary: (/** @type {string} */ id) => vary(id),
    upscale: (/** @type {string} */ id) => upscale(id),
    /**
     * Ask how to do an action, and do it.
     * @param {import("./actions/list.js").ChoiceName} name
     * @param {string} id
     * @param {import("./core/popover.js").Place} place
     * @param {() => void} [ondone]
     */
    async choose(name, id, place, ondone = noop) {
      const { chooseUpscaling, chooseVariations } = await loadChoices();
      if (name === "vary") chooseVariations(place, withErrorToast((chosen) => vary(id, chosen).then(ondone)));
      else await chooseUpscaling(place, withErrorToast((chosen) => upscale(id, chosen).then(ondone)));
    },
    /** Open it in the editor. @param {string} id */
    async edit(id) {
      const blob = await readBlob(await request("GET", fileUrl(id)));
      void show("create");
      await form.editPicture(blob, id);
    },
    /** Whether an action makes sense with the form as it is. @param {import("./actions/list.js").ActionName} name */
    offers: (name) => name !== "reference" || form.referenceLimits !== null,
    /** Let the model look at pictures. @param {string | string[]} ids */
    async reference(ids) {
      const entries = await Promise.all([ids].flat().map((id) => get(`/v1/gallery/${id}`)));
      const n = form.addReferences(entries.map(({ id, width, height }) => ({ blob: null, entry: id, width, height })));
      if (n) toast(t("references.added", { n }));
    },
    /** Copy its infotext to the clipboard. @param {string} id */
    async copy(id) {
      const entry = await get(`/v1/gallery/${id}`);
      await copyText(entry.infotext ?? entry.prompt);
      toast(t("copied"));
    },
    /** Copy the picture itself to the clipboard. @param {string} id */
    async copyPicture(id) {
      await copyPicture(request("GET", fileUrl(id)).then(readBlob));
      toast(t("copied.picture"));
    },
    /** Mark it as a favourite, or unmark it. @param {string} id @param {boolean} favourite @returns {Promise<GalleryEntry>} */
    async favourite(id, favourite) {
      return read(await request("PATCH", `/v1/gallery/${id}`, { json: { favourite } }));
    },
    /**
     * Delete pictures after some seconds in which the user can undo it; leaving the page deletes them at once.
     * @param {string | string[]} ids  one deletion, that is undone as a whole
     * @param {import("./actions/deletions.js").DeletionView} view  hides and restores them in the caller's view
     */
    remove: (ids, view) => deletions.add([ids].flat(), view),
    /** Delete everything that could still be undone, at once. */
    flushDeletions: () => deletions.flush(),
    /** Whether it will be deleted unless the user undoes it. @param {string} id */
    isBeingDeleted: (/** @type {string} */ id) => deletions.has(id),
  };
}

/** The fields without which another picture would be generated. @param {import("./types").RecallResult["unfilled"]} unfilled */
export const missingFields = (unfilled) => unfilled.filter(({ name }) => !HARMLESS.test(name));

/** Whether a name that recall reports is that of a picture or mask in one of the request's lists. @param {string} name */
const isPictureOfList = (name) => /^(image|mask)$/.test(listField(name)?.name ?? "");

/**
 * The items of a list with the pictures and masks that they need.
 * @param {import("./form/list_field.js").ListName} list
 * @param {readonly Record<string, any>[]} items  the recalled ones
 * @param {Set<string>} needed
 * @param {import("./actions/inputs.js").KeptItem[]} kept  what this browser has
 * @returns {Record<string, any>[] | null}  null: it lacks one
 */
function withPictures(list, items, needed, kept) {
  const filled = items.map((item) => ({ ...item }));
  for (const about of [...needed].map(listField)) {
    if (about?.list !== list || about.index === null) continue;
    const file = kept[about.index]?.[/** @type {"image" | "mask"} */ (about.name)];
    if (!file) return null;
    (filled[about.index] ??= {})[about.name] = file;
  }
  return filled;
}

const noop = () => {};
