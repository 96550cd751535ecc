// A model in the list: what it is, its properties, its defaults, whether it is in memory.

import { copyText } from "../core/clipboard.js";
import { button, h } from "../core/dom.js";
import { formatBytes, formatNumber, t } from "../core/text.js";
import { toast, withErrorToast } from "../core/toast.js";
import { about } from "./about.js";
import { showMemory } from "./memory_plan.js";

/**
 * @typedef {"idle" | "loading" | "unloading"} State
 * @typedef {object} RowOptions
 * @property {boolean} admin
 * @property {State} state
 * @property {import("../types").ErrorBody | null} failure  of the last attempt to load it
 * @property {(load: boolean) => unknown} requestLoad
 * @property {() => void} use
 * @property {() => unknown} makeDefault
 * @property {() => unknown} editDefaults
 */

/**
 * @param {import("../types").Model} model
 * @param {RowOptions} options
 */
export function modelRow(model, options) {
  const checkpoint = model.kind === "checkpoint";
  return h(
    "li",
    { class: "sl-models-row" },
    h(
      "div",
      { class: "sl-models-what" },
      h("h3", {}, model.id, model.default && h("span", { class: "sl-badge sl-allow" }, t("models.default"))),
      h("p", { class: "sl-models-about" }, about(model)),
      facts(model),
      checkpoint && model.draws && defaults(model, options),
      options.failure && h("div", { class: "sl-models-failure", role: "alert" },
        h("p", {}, options.failure.message), options.failure.hint && h("p", { class: "sl-hint" }, options.failure.hint)),
    ),
    checkpoint && memory(model, options),
  );
}

/** Family, precision, size, memory, modes and digest. @param {import("../types").Model} model */
function facts(model) {
  const plan = model.kind === "checkpoint" && h("span", { class: "sl-models-plan" }, t("models.memory.asking"));
  if (plan) showMemory(plan, model);
  const modes = model.modes.map((mode) => t(`models.mode.${mode}`)).join(", ");
  return h("p", { class: "sl-models-facts" },
    model.family && h("span", {}, model.family),
    model.precision && h("span", {}, model.precision),
    model.size !== null && h("span", {}, t("models.on_disk.size", { size: formatBytes(model.size) })),
    plan,
    modes && h("span", { title: t("models.modes") }, modes),
    model.digest && digestWithCopy(model.digest));
}

/** What it generates with where a request leaves it open. @param {import("../types").Model} model @param {RowOptions} options */
function defaults({ id, draws }, { admin, editDefaults }) {
  const values = draws && [
    `${draws.width} × ${draws.height}`, t("models.defaults.steps", { n: draws.steps }),
    t("models.defaults.guidance", { value: formatNumber(draws.guidance_scale) }), [draws.sampler, draws.schedule].filter(Boolean).join(", ")];
  return h("p", { class: "sl-models-defaults" },
    h("span", { class: "sl-models-defaults-of" }, t("models.defaults")), h("span", {}, values?.join(" · ")),
    admin && button({ icon: "edit", label: t("models.defaults.edit", { name: id }), iconOnly: true, onclick: editDefaults, "data-command": `defaults ${id}` }));
}

/** @param {import("../types").Model} model @param {RowOptions} around */
function memory(model, { admin, state, requestLoad, use, makeDefault }) {
  const loaded = model.loaded_by.length > 0;
  const status = state !== "idle" ? t(`models.${state}.busy`) : loaded ? t("models.in_memory", { workers: model.loaded_by.join(", ") }) : t("models.on_disk");
  const name = (/** @type {string} */ action) => ({ "aria-label": t(`models.${action}.name`, { name: model.id }), "data-command": `${action} ${model.id}` });
  return h(
    "div",
    { class: `sl-models-memory sl-is-${state === "idle" ? (loaded ? "loaded" : "idle") : "busy"}` },
    h("p", { class: "sl-models-state" }, h("i", { "aria-hidden": "true" }), status),
    h("div", { class: "sl-models-buttons" },
      button({ label: t("models.use"), onclick: use, ...name("use") }),
      admin && button({ label: t("models.load"), disabled: state !== "idle", onclick: () => requestLoad(true), ...name("load"), hidden: loaded && state === "idle" }),
      admin && button({ label: t("models.unload"), disabled: state !== "idle", onclick: () => requestLoad(false), ...name("unload"), hidden: !loaded || state === "loading" }),
      admin && !model.default && button({ label: t("models.make_default"), kind: "quiet", onclick: makeDefault, ...name("make_default") })),
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
