// A dialog in which a picture of the gallery is chosen.

import { get, query } from "../core/api.js";
import { dialog } from "../core/dialog.js";
import { button, h, setChildren } from "../core/dom.js";
import { pictureFrame, thumbnailUrl } from "../core/picture.js";
import { t } from "../core/text.js";
import { showError } from "../core/toast.js";

/** @typedef {import("../types").GalleryEntry} GalleryEntry */

const PAGE_SIZE = 48;
const TYPING_PAUSE = 250; // milliseconds

/** Let the user choose a picture. @returns {Promise<GalleryEntry | null>}  null: none was chosen */
export function pickFromGallery() {
  return new Promise((resolve) => {
    let abort = new AbortController(), timer = 0;
    /** @type {string | null} */
    let next = null;
    const search = h("input", { type: "search", class: "sl-field sl-picker-search", placeholder: t("control.gallery.search"), "aria-label": t("control.gallery.search"), oninput: () => (clearTimeout(timer), (timer = window.setTimeout(() => load(true), TYPING_PAUSE))) });
    const grid = h("div", { class: "sl-picker" });
    const state = h("p", { class: "sl-hint", role: "status" });
    const more = button({ label: t("models.files.more"), hidden: true, onclick: () => load(false) });
    const box = dialog(t("control.gallery.title"), search, grid, state, more);
    box.classList.add("sl-wide-dialog");
    /** @type {GalleryEntry | null} */
    let chosen = null;
    box.addEventListener("close", () => (abort.abort(), resolve(chosen)));

    /** Load the first page or the next one. @param {boolean} anew */
    async function load(anew) {
      abort.abort();
      const { signal } = (abort = new AbortController());
      try {
        const page = await get(`/v1/gallery${query({ q: search.value.trim(), limit: PAGE_SIZE, after: anew ? null : next })}`, signal);
        next = page.next;
        const usable = page.entries.filter((/** @type {GalleryEntry} */ { decision, missing }) => decision !== "block" && !missing);
        const frames = usable.map((/** @type {GalleryEntry} */ entry) => pictureFrame(entry, { src: thumbnailUrl(entry.id), onopen: () => ((chosen = entry), box.close()) }));
        if (anew) setChildren(grid, frames);
        else grid.append(...frames);
        more.hidden = next === null;
        state.textContent = grid.children.length ? "" : t("control.gallery.none");
      } catch (error) {
        if (!signal.aborted) showError(error);
      }
    }

    void load(true);
  });
}
