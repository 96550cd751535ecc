// The form's line about the picture that a request starts from: a button to choose one, or the picture with what may be done with it.

import { button, h, setChildren } from "../core/dom.js";
import { formatNumber, t } from "../core/text.js";

const SIDE = 56; // CSS pixels of the picture

/**
 * @param {HTMLElement} root
 * @param {import("../form.js").Form} form
 */
export function mountSource(root, form) {
  /** @type {Blob | null | undefined} */
  let shown;
  const open = () => dispatchEvent(new CustomEvent("sl:edit"));
  const render = () => {
    const { editor } = form;
    const picture = editor?.picture ?? null;
    const note = editor && picture ? t(`editing.source.${editor.mode}`) : "";
    if (picture === shown) return void root.querySelector(".sl-source-note")?.replaceChildren(note);
    shown = picture;
    if (!editor || !picture) return setChildren(root, button({ icon: "picture", label: t("create.edit"), onclick: open, class: "sl-button sl-source-start" }));
    const { width, height } = /** @type {import("./picture.js").Size} */ (editor.size);
    setChildren(root, h("div", { class: "sl-source" },
      thumbnail(editor.smallest),
      h("div", { class: "sl-source-words" }, h("p", {}, `${formatNumber(width)} × ${formatNumber(height)}`), h("p", { class: "sl-hint sl-source-note" }, note)),
      button({ icon: "edit", label: t("viewer.edit"), onclick: open }),
      button({ icon: "trash", label: t("editor.remove"), iconOnly: true, onclick: () => (editor.remove(), root.querySelector("button")?.focus()) })));
  };
  form.subscribe(render);
  render();
}

/** @param {ImageBitmap | null} picture */
function thumbnail(picture) {
  const canvas = h("canvas", { class: "sl-source-picture", "aria-hidden": "true", width: 2 * SIDE, height: 2 * SIDE });
  const context = canvas.getContext("2d");
  if (!picture || !context) return canvas;
  const side = Math.min(picture.width, picture.height);
  context.imageSmoothingQuality = "high";
  context.drawImage(picture, (picture.width - side) / 2, (picture.height - side) / 2, side, side, 0, 0, canvas.width, canvas.height);
  return canvas;
}
