// A model in the list: its properties, its modes, whether it is in memory.

import { copyText } from "../core/clipboard.js";
import { button, h } from "../core/dom.js";
import { formatBytes, t } from "../core/text.js";
import { toast, withErrorToast } from "../core/toast.js";

/**
 * @typedef {"idle" | "loading" | "unloading"} State
 * @typedef {object} RowOptions
 * @property {boolean} admin
 * @property {State} state
 * @property {import("../types").ErrorBody | null} failure  of the last attempt to load it
 * @property {(load: boolean) => unknown} requestLoad
 * @property {() => void} use
 */

/**
 * @param {import("../types").Model} model
 * @param {RowOptions} options
 */
export function modelRow(model, options) {
  const details = [model.family, model.size === null ? null : formatBytes(model.size), model.precision].filter(Boolean);
  return h(
    "li",
    { class: "sl-models-row" },
    h(
      "div",
      { class: "sl-models-what" },
      h("h3", {}, model.id, model.default && h("span", { class: "sl-badge sl-allow" }, t("models.default"))),
      h("p", { class: "sl-models-facts" },
        details.length > 0 && h("span", {}, details.join(" · ")), model.digest && digestWithCopy(model.digest)),
      model.modes.length > 0 && h("ul", { class: "sl-models-modes", "aria-label": t("models.modes") },
        model.modes.map((mode) => h("li", { class: "sl-badge" }, t(`models.mode.${mode}`)))),
      options.failure && h("div", { class: "sl-models-failure", role: "alert" },
        h("p", {}, options.failure.message), options.failure.hint && h("p", { class: "sl-hint" }, options.failure.hint)),
    ),
    model.kind === "checkpoint" && memory(model, options),
  );
}

/** @param {import("../types").Model} model @param {RowOptions} around */
function memory(model, { admin, state, requestLoad: requestLoad, use }) {
  const loaded = model.loaded_by.length > 0;
  const status = state !== "idle" ? t(`models.${state}.busy`) : loaded ? t("models.in_memory", { workers: model.loaded_by.join(", ") }) : t("models.on_disk");
  const name = (/** @type {string} */ action) => ({ "aria-label": t(`models.${action}.name`, { name: model.id }), "data-command": `${action} ${model.id}` });
  return h(
    "div",
    { class: `sl-models-memory sl-is-${state === "idle" ? (loaded ? "loaded" : "idle") : "busy"}` },
    h("p", { class: "sl-models-state" }, h("i", { "aria-hidden": "true" }), status),
    h("div", { class: "sl-models-buttons" },
      admin && button({ label: t("models.load"), disabled: state !== "idle", onclick: () => requestLoad(true), ...name("load"), hidden: loaded && state === "idle" }),
      admin && button({ label: t("models.unload"), disabled: state !== "idle", onclick: () => requestLoad(false), ...name("unload"), hidden: !loaded || state === "loading" }),
      button({ label: t("models.use"), kind: "quiet", onclick: use, ...name("use") })),
  );
}

/** The start of a digest, with a button to copy all of it. @param {string} digest */
function digestWithCopy(digest) {
  const copy = withErrorToast(async () => {
    await copyText(digest);
    toast(t("models.copied"));
  });
  return h("span", { class: "sl-models-digest", title: digest }, h("code", {}, digest.slice(0, 10)),
    button({ icon: "copy", label: t("models.copy"), iconOnly: true, onclick: copy }));
}
