// The first thing on the Models tab: where models lie, and one place that takes a file, a link or a hub id.

import { get } from "../core/api.js";
import { copyText } from "../core/clipboard.js";
import { button, h, icon } from "../core/dom.js";
import { t } from "../core/text.js";
import { toast, withErrorToast } from "../core/toast.js";
import { whileVisible } from "../core/while_visible.js";
import { downloads } from "./pulls.js";
import { recognize, textOf } from "./reference.js";
import { uploadList } from "./uploads.js";

/**
 * @param {HTMLElement} root  the tab, on all of which things can be dropped
 * @param {() => void} onChange  called when a model has been added
 */
export function welcome(root, onChange) {
  const path = h("code", {}, "…");
  const copy = button({ icon: "copy", label: t("models.add.copy"), iconOnly: true, onclick: withErrorToast(async () => {
    await copyText(path.textContent ?? "");
    toast(t("models.copied"));
  }) });
  const text = h("input", { class: "sl-field", id: "sl-models-add", placeholder: t("models.add.example"), autocomplete: "off", spellcheck: "false", maxlength: 500, "aria-describedby": "sl-models-recognized" });
  const recognized = h("p", { id: "sl-models-recognized", class: "sl-models-recognized", role: "status" });
  const part = h("input", { class: "sl-field", id: "sl-models-part", placeholder: t("models.pull.file.all"), autocomplete: "off", spellcheck: "false", maxlength: 500 });
  const look = button({ icon: "search", label: t("models.pull.look"), onclick: () => {}, type: "submit" });
  const chooser = h("input", { type: "file", class: "sl-hidden", multiple: true, tabindex: -1, "aria-hidden": "true", accept: ".safetensors,.gguf", onchange: () => (send([...(chooser.files ?? [])]), (chooser.value = "")) });
  const uploads = uploadList(onChange);
  const pulls = downloads(onChange);
  const send = (/** @type {File[]} */ files) => uploads.add(files);

  /** Say what the text is; null if nothing can be looked up. */
  function show() {
    const value = text.value.trim();
    const found = value ? recognize(value) : null;
    const bad = found !== null && !("reference" in found);
    recognized.textContent = found ? t(`models.add.is.${found.kind}`, { text: value }) : "";
    recognized.classList.toggle("sl-is-bad", bad);
    return found && "reference" in found ? found.reference : null;
  }
  /** @param {Event} event */
  const submit = async (event) => {
    event.preventDefault();
    const reference = show();
    text.setAttribute("aria-invalid", String(!reference && text.value.trim() !== ""));
    if (!reference) return text.focus();
    look.disabled = true;
    await pulls.lookUp(reference, part.value.trim() || null);
    look.disabled = false;
  };
  const form = h("form", { onsubmit: submit, oninput: () => (text.removeAttribute("aria-invalid"), show()) },
    h("label", { for: "sl-models-add" }, t("models.add.text"), text),
    look,
    h("details", {}, h("summary", {}, t("models.pull.file")), h("label", {}, h("span", { class: "sl-hidden" }, t("models.pull.file")), part)));
  const area = h("div", { class: "sl-models-drop" },
    h("p", { class: "sl-models-drop-text" }, icon("upload"), h("span", {}, t("models.add.drop"))),
    button({ icon: "plus", label: t("models.add.choose"), onclick: () => chooser.click() }), chooser);

  text.addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (!files.length) return;
    event.preventDefault();
    send(files);
  });
  acceptDrops(root, area, send, (dropped) => {
    text.value = dropped.slice(0, 500);
    form.requestSubmit();
  });
  whileVisible(path, () => get("/v1/models/folders").then(({ own }) => (path.textContent = own), () => {}), () => Infinity); // the list of models reports failures

  return h(
    "section",
    { class: "sl-models-add", "aria-labelledby": "sl-models-add-title" },
    h("h2", { id: "sl-models-add-title" }, t("models.add")),
    h("p", { class: "sl-models-place" }, h("span", {}, t("models.add.place")), path, copy),
    h("div", { class: "sl-models-add-box" }, area, form, recognized),
    pulls.answer,
    uploads.element,
    pulls.list,
  );
}

/**
 * Let files, links and texts be dropped anywhere on the tab.
 * @param {HTMLElement} root
 * @param {HTMLElement} area  shows that they can be
 * @param {(files: File[]) => void} onFiles
 * @param {(text: string) => void} onText
 */
function acceptDrops(root, area, onFiles, onText) {
  let depth = 0; // elements within the tab that the pointer has entered
  const mark = (/** @type {number} */ change) => area.classList.toggle("sl-is-over", (depth = Math.max(0, depth + change)) > 0);
  const isTaken = (/** @type {DragEvent} */ event) => ["Files", "text/uri-list", "text/plain"].some((type) => event.dataTransfer?.types.includes(type));
  const isField = (/** @type {Event} */ event) => event.target instanceof Element && event.target.closest("input:not(#sl-models-add), textarea") !== null;
  root.addEventListener("dragenter", (event) => isTaken(event) && mark(1));
  root.addEventListener("dragleave", (event) => isTaken(event) && mark(-1));
  root.addEventListener("dragover", (event) => isTaken(event) && !isField(event) && event.preventDefault());
  root.addEventListener("drop", (event) => {
    mark(-depth);
    const data = event.dataTransfer;
    if (!data || !isTaken(event) || isField(event)) return;
    event.preventDefault();
    if (data.files.length) return onFiles([...data.files]);
    const text = textOf(data);
    if (text) onText(text);
  });
}
