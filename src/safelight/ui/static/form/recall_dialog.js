// The dialog that recalls parameters from a pasted text or a chosen file.

import { dialog } from "../core/dialog.js";
import { button, h } from "../core/dom.js";
import { t } from "../core/text.js";

/** @param {{ontext: (text: string) => unknown, onfile: (file: File) => unknown}} options */
export function openRecallDialog({ ontext, onfile }) {
  const area = h("textarea", { class: "sl-field sl-paste", rows: 8, "aria-label": t("recall.text"), placeholder: t("recall.example") });
  const file = h("input", { type: "file", accept: "image/*", class: "sl-hidden", tabindex: -1, "aria-label": t("recall.file") });
  const box = dialog(
    t("recall.title"),
    h("p", { class: "sl-hint" }, t("recall.says")),
    area,
    h("div", { class: "sl-bar" },
      button({ icon: "upload", label: t("recall.file"), onclick: () => file.click() }),
      button({ icon: "reuse", label: t("recall.fill"), kind: "primary", onclick: () => (box.close(), void ontext(area.value)) }),
    ),
    file,
  );
  file.addEventListener("change", () => file.files?.[0] && (box.close(), void onfile(file.files[0])));
  area.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !event.ctrlKey) return;
    event.preventDefault(); // Ctrl+Enter would also submit the form
    box.close();
    void ontext(area.value);
  });
  area.focus();
}
