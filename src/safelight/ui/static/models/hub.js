// The requirements of a checkpoint on the hub: its files, and which of them are on this machine.

import { get, query } from "../core/api.js";
import { button, h, icon, setChildren } from "../core/dom.js";
import { formatBytes, t } from "../core/text.js";
import { showError } from "../core/toast.js";

/** @typedef {{id: string, present: boolean, network: boolean, files: {name: string, size: number | null, present: boolean}[], size: number | null, hint: string}} HubCheckpoint */

/** The form for a checkpoint's id, with the answer below. */
export function hubForm() {
  const field = h("input", { class: "sl-field", id: "sl-models-hub", placeholder: "org/name", autocomplete: "off", spellcheck: "false", required: true, maxlength: 200 });
  const answer = h("div", { class: "sl-models-answer", "aria-live": "polite" });
  const ask = button({ icon: "search", label: t("models.hub.ask"), onclick: () => {}, type: "submit" });
  const submit = async (/** @type {SubmitEvent} */ event) => {
    event.preventDefault();
    ask.disabled = true;
    setChildren(answer, h("p", { class: "sl-hint" }, t("models.hub.asking")));
    try {
      setChildren(answer, requirements(await get(`/v1/models/hub${query({ id: field.value.trim() })}`)));
    } catch (error) {
      setChildren(answer);
      showError(error);
    } finally {
      ask.disabled = false;
    }
  };
  return h(
    "section",
    { class: "sl-models-hub" },
    h("h2", {}, h("label", { for: "sl-models-hub" }, t("models.hub"))),
    h("p", { class: "sl-hint" }, t("models.hub.hint")),
    h("form", { onsubmit: submit }, field, ask),
    answer,
  );
}

/** @param {HubCheckpoint} checkpoint */
function requirements(checkpoint) {
  const missing = checkpoint.files.filter(({ present }) => !present);
  const missingBytes = missing.reduce((sum, file) => sum + (file.size ?? 0), 0);
  return [
    h("p", { class: "sl-models-sum" },
      checkpoint.present
        ? t("models.hub.present", { name: checkpoint.id })
        : missing.length
          ? t("models.hub.missing", { n: missing.length, size: formatBytes(missingBytes) })
          : t("models.hub.unknown", { name: checkpoint.id })),
    checkpoint.hint && h("p", {}, checkpoint.hint),
    !checkpoint.network && h("p", { class: "sl-hint" }, t("models.hub.offline")),
    checkpoint.files.length > 0 && h(
      "details",
      { open: checkpoint.files.length <= 12 },
      h("summary", {}, t("models.hub.files", { n: checkpoint.files.length }), checkpoint.size === null ? "" : ` · ${formatBytes(checkpoint.size)}`),
      h("table", {},
        h("thead", { class: "sl-hidden" }, h("tr", {}, ["file", "size", "here"].map((name) => h("th", { scope: "col" }, t(`models.hub.${name}`))))),
        h("tbody", {}, checkpoint.files.map((file) =>
          h("tr", {},
            h("td", {}, file.name),
            h("td", {}, file.size === null ? "–" : formatBytes(file.size)),
            h("td", { class: file.present ? "sl-is-here" : "" }, file.present && icon("check"), t(file.present ? "models.hub.is_here" : "models.hub.is_missing")))))),
    ),
  ].filter((part) => part !== false && part !== "");
}
