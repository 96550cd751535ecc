// Tiles can be dragged: onto the reference pictures, which take it; onto the form, which takes over the parameters; onto the stage, which opens the picture for
// editing; and out of the window, where Chromium saves the file.

import { fileUrl } from "../core/picture.js";
import { withErrorToast } from "../core/toast.js";

/** @typedef {import("../types").GalleryEntry} GalleryEntry */

const DRAG_TYPE = "application/x-safelight-picture"; // the entry's id: no file is read before it is needed
const TAB_DELAY = 500; // milliseconds over a tab before it is shown
const TARGETS = /** @type {const} */ ([["#sl-references", "reference"], ["#sl-form", "use"], ["#sl-stage", "edit"]]);
const MEDIA_TYPES = { png: "image/png", jpeg: "image/jpeg", webp: "image/webp" };

/** Start to drag an entry. @param {DragEvent} event @param {GalleryEntry} entry */
export function startDrag(event, { id, kind, decision, missing }) {
  const { dataTransfer } = event;
  if (!dataTransfer || decision === "block" || missing) return event.preventDefault();
  dataTransfer.effectAllowed = "copy";
  dataTransfer.setData(DRAG_TYPE, id);
  if (kind) dataTransfer.setData("DownloadURL", `${MEDIA_TYPES[kind]}:${id}.${kind === "jpeg" ? "jpg" : kind}:${new URL(fileUrl(id), location.href)}`);
}

/** Let the form and the stage accept tiles, and show a tab while a tile is held over its button. @param {import("../types").PageContext} context */
export function acceptTiles({ actions }) {
  /** @type {Element | null} */
  let highlighted = null;
  /** @type {Element | null} */
  let tab = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  const highlight = (/** @type {Element | null} */ element) => {
    if (element === highlighted) return;
    highlighted?.classList.remove("sl-dropping");
    element?.classList.add("sl-dropping");
    highlighted = element;
  };
  const hover = (/** @type {HTMLElement | null} */ element) => {
    if (element === tab) return;
    clearTimeout(timer);
    tab = element;
    if (element) timer = setTimeout(() => element.click(), TAB_DELAY);
  };
  const end = () => {
    highlight(null);
    hover(null);
  };
  const onDrag = (/** @type {DragEvent} */ event) => {
    if (!isTile(event) || !(event.target instanceof Element)) return;
    hover(event.target.closest("[role=tab]"));
    const target = targetOf(event.target);
    highlight(target?.element ?? null);
    if (!target || !event.dataTransfer) return;
    event.preventDefault();
    event.dataTransfer.dropEffect = "copy";
  };
  for (const type of /** @type {const} */ (["dragenter", "dragover"])) document.addEventListener(type, onDrag, true);
  document.addEventListener("dragleave", (event) => isTile(event) && !event.relatedTarget && end());
  document.addEventListener("dragend", end);
  document.addEventListener("drop", withErrorToast(async (/** @type {DragEvent} */ event) => {
    const id = event.dataTransfer?.getData(DRAG_TYPE);
    if (!id || !(event.target instanceof Element)) return;
    event.preventDefault();
    event.stopPropagation();
    end();
    const target = targetOf(event.target);
    if (target) await actions[target.action](id);
  }), true);
}

/** @param {DragEvent} event */
const isTile = ({ dataTransfer }) => !!dataTransfer?.types.includes(DRAG_TYPE);

/** What accepts a tile there, and what it does with it. @param {Element} over @returns {{element: Element, action: typeof TARGETS[number][1]} | null} */
function targetOf(over) {
  for (const [selector, action] of TARGETS) {
    const element = over.closest(selector);
    if (element) return { element, action };
  }
  return null;
}
