// One model in the list: what it is, what it can do, whether it is in memory.

import { copyText } from "../core/clipboard.js";
import { button, h } from "../core/dom.js";
import { size, t } from "../core/text.js";
import { toast, watched } from "../core/toast.js";

/**
 * @typedef {"resting" | "loading" | "unloading"} State
 * @typedef {object} Around
 * @property {boolean} admin
 * @property {State} state
 * @property {import("../types").Failure | null} failure  of the last time it was to be loaded
 * @property {(load: boolean) => unknown} order
 * @property {() => void} use
 */

/**
 * @param {import("../types").Model} model
 * @param {Around} around
 */
export function row(model, around) {
  const facts = [model.family, model.size === null ? null : size(model.size), model.precision].filter(Boolean);
  return h(
    "li",
    { class: "sl-models-row" },
    h(
      "div",
      { class: "sl-models-what" },
      h("h3", {}, model.id, model.default && h("span", { class: "sl-badge sl-allow" }, t("models.default"))),
      h("p", { class: "sl-models-facts" },
        facts.length > 0 && h("span", {}, facts.join(" · ")), model.digest && digest(model.digest)),
      model.modes.length > 0 && h("ul", { class: "sl-models-modes", "aria-label": t("models.modes") },
        model.modes.map((mode) => h("li", { class: "sl-badge" }, t(`models.mode.${mode}`)))),
      around.failure && h("div", { class: "sl-models-failure", role: "alert" },
        h("p", {}, around.failure.message), around.failure.hint && h("p", { class: "sl-hint" }, around.failure.hint)),
    ),
    model.kind === "checkpoint" && memory(model, around),
  );
}

/** @param {import("../types").Model} model @param {Around} around */
function memory(model, { admin, state, order, use }) {
  const loaded = model.loaded_by.length > 0;
  const says = state !== "resting" ? t(`models.${state}.busy`) : loaded ? t("models.in_memory", { workers: model.loaded_by.join(", ") }) : t("models.on_disk");
  const name = (/** @type {string} */ what) => ({ "aria-label": t(`models.${what}.name`, { name: model.id }), "data-does": `${what} ${model.id}` });
  return h(
    "div",
    { class: `sl-models-memory sl-is-${state === "resting" ? (loaded ? "loaded" : "resting") : "busy"}` },
    h("p", { class: "sl-models-state" }, h("i", { "aria-hidden": "true" }), says),
    h("div", { class: "sl-models-buttons" },
      admin && button({ label: t("models.load"), disabled: state !== "resting", onclick: () => order(true), ...name("load"), hidden: loaded && state === "resting" }),
      admin && button({ label: t("models.unload"), disabled: state !== "resting", onclick: () => order(false), ...name("unload"), hidden: !loaded || state === "loading" }),
      button({ label: t("models.use"), kind: "quiet", onclick: use, ...name("use") })),
  );
}

/** A digest's beginning, and a button for all of it. @param {string} whole */
function digest(whole) {
  const copy = watched(async () => {
    await copyText(whole);
    toast(t("models.copied"));
  });
  return h("span", { class: "sl-models-digest", title: whole }, h("code", {}, whole.slice(0, 10)),
    button({ icon: "copy", label: t("models.copy"), bare: true, onclick: copy }));
}
