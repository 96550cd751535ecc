// A dialog in which a mask is painted on a picture with the editor's tools.

import { dialog } from "../core/dialog.js";
import { button, h } from "../core/dom.js";
import { t } from "../core/text.js";
import { Editor } from "../editor.js";
import { context2d } from "./picture.js";
import { offerSegmentation } from "./segmentation.js";

/**
 * Let the user paint a mask.
 * @param {{title: string, note: string, picture: Blob, mask: Blob | null}} options  note: what the painted part means; mask: to begin with
 * @returns {Promise<Blob | null | undefined>}  white where it is painted, in the picture's size; null: nothing is painted; undefined: as it was
 */
export function paintMask({ title, note, picture, mask }) {
  return new Promise((resolve) => {
    const root = h("div");
    const editor = new Editor(root, { dropTarget: h("div"), maskOnly: true }); // a picture that is dropped or pasted is none of its own
    const finish = async () => {
      resolve((await editor.mask()) ?? null);
      box.close();
    };
    const box = dialog(title, h("p", { class: "sl-hint" }, note), root,
      h("div", { class: "sl-bar sl-dialog-end" },
        button({ label: t("jobs.cancel"), onclick: () => box.close() }),
        button({ icon: "check", label: t("mask.done"), kind: "primary", onclick: () => void finish() })));
    box.classList.add("sl-mask-dialog");
    box.addEventListener("close", () => {
      editor.destroy();
      resolve(undefined);
    });
    void offerSegmentation(editor);
    void editor.setPicture(picture).then(() => mask && editor.picture && editor.setMask(mask)).finally(() => editor.scene.stage.focus());
  });
}

/** A picture without content, to paint on where there is none. @param {{width: number, height: number}} size @returns {Promise<Blob>} */
export function blankPicture({ width, height }) {
  const canvas = h("canvas", { width, height });
  const context = context2d(canvas);
  context.fillStyle = "#8a8a8a";
  context.fillRect(0, 0, width, height);
  return new Promise((resolve, reject) => canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error(`No picture of ${width} × ${height} pixels.`))), "image/png"));
}
