// What could not be filled in of recalled parameters: few things in a message, more in a dialog.

import { dialog } from "../core/dialog.js";
import { button, h } from "../core/dom.js";
import { serverText } from "../core/server_text.js";
import { t } from "../core/text.js";
import { toast } from "../core/toast.js";

const MAX_LISTED = 4; // at most so many are named in a message

/** @param {{name: string, value: string, reason: string}[]} unfilled @param {() => void} undo */
export async function reportUnfilled(unfilled, undo) {
  const lines = await Promise.all(unfilled.map(async ({ name, value, reason }) => `${name}${value ? `: ${value}` : ""} (${await serverText(reason)})`));
  const text = t("recall.some", { n: lines.length });
  if (lines.length <= MAX_LISTED) return toast(text, { kind: "error", duration: 20000, action: { label: t("undo"), run: undo }, hint: lines.join(" · ") });
  const box = dialog(text, h("ul", { class: "sl-unfilled" }, lines.map((line) => h("li", {}, line))),
    h("div", { class: "sl-bar sl-dialog-end" }, button({ icon: "undo", label: t("undo"), onclick: () => (box.close(), undo()) }), button({ label: t("close"), kind: "primary", onclick: () => box.close() })));
}
