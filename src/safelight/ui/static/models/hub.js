// "What would it need?": the files of a checkpoint of the hub, and which of them are here.

import { get, query } from "../core/api.js";
import { button, fill, h, icon } from "../core/dom.js";
import { size, t } from "../core/text.js";
import { complain } from "../core/toast.js";

/** @typedef {{id: string, present: boolean, network: boolean, files: {name: string, size: number | null, present: boolean}[], size: number | null, hint: string}} Need */

/** The question, and below it the answer. */
export function hubForm() {
  const field = h("input", { class: "sl-field", id: "sl-models-hub", placeholder: "org/name", autocomplete: "off", spellcheck: "false", required: true, maxlength: 200 });
  const answer = h("div", { class: "sl-models-answer", "aria-live": "polite" });
  const ask = button({ icon: "search", label: t("models.hub.ask"), onclick: () => {}, type: "submit" });
  const submit = async (/** @type {SubmitEvent} */ event) => {
    event.preventDefault();
    ask.disabled = true;
    fill(answer, h("p", { class: "sl-hint" }, t("models.hub.asking")));
    try {
      fill(answer, need(await get(`/v1/models/hub${query({ id: field.value.trim() })}`)));
    } catch (error) {
      fill(answer);
      complain(error);
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

/** @param {Need} found */
function need(found) {
  const missing = found.files.filter(({ present }) => !present);
  const known = missing.reduce((sum, file) => sum + (file.size ?? 0), 0);
  return [
    h("p", { class: "sl-models-sum" },
      found.present
        ? t("models.hub.present", { name: found.id })
        : missing.length
          ? t("models.hub.missing", { n: missing.length, size: size(known) })
          : t("models.hub.unknown", { name: found.id })),
    found.hint && h("p", {}, found.hint),
    !found.network && h("p", { class: "sl-hint" }, t("models.hub.offline")),
    found.files.length > 0 && h(
      "details",
      { open: found.files.length <= 12 },
      h("summary", {}, t("models.hub.files", { n: found.files.length }), found.size === null ? "" : ` · ${size(found.size)}`),
      h("table", {},
        h("thead", { class: "sl-hidden" }, h("tr", {}, ["file", "size", "here"].map((name) => h("th", { scope: "col" }, t(`models.hub.${name}`))))),
        h("tbody", {}, found.files.map((file) =>
          h("tr", {},
            h("td", {}, file.name),
            h("td", {}, file.size === null ? "–" : size(file.size)),
            h("td", { class: file.present ? "sl-is-here" : "" }, file.present && icon("check"), t(file.present ? "models.hub.is_here" : "models.hub.is_missing")))))),
    ),
  ].filter((part) => part !== false && part !== "");
}
