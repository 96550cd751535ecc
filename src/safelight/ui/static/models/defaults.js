// A dialog for what a checkpoint generates with where a request leaves it open: the setting checkpoint_defaults.

import { ApiError, get, read, request } from "../core/api.js";
import { dialog } from "../core/dialog.js";
import { button, h, setChildren } from "../core/dom.js";
import { errorWithHint } from "../core/error_text.js";
import { t } from "../core/text.js";
import { showError, toast, withErrorToast } from "../core/toast.js";

const NUMBERS = /** @type {const} */ (["width", "height", "steps", "guidance_scale"]);
const NAMES = /** @type {const} */ (["sampler", "schedule"]);

/**
 * @param {import("../types").Model} model
 * @param {() => void} onChange
 */
export async function editDefaults(model, onChange) {
  const kind = model.draws?.kind;
  const [{ settings }, { samplers }, { schedules }] = await Promise.all([get("/v1/settings"), get(`/v1/samplers?kind=${kind}`), get(`/v1/schedules?kind=${kind}`)]);
  /** @type {import("../types").Setting} */
  const setting = settings.find((/** @type {import("../types").Setting} */ each) => each.name === "checkpoint_defaults");
  const chosen = setting.value[model.id] ?? {};
  const choices = { sampler: samplers, schedule: schedules };
  /** @type {Map<string, HTMLInputElement | HTMLSelectElement>} */
  const fields = new Map();
  /** @type {Map<string, HTMLElement>} */
  const problems = new Map();

  /** @param {string} name @param {HTMLInputElement | HTMLSelectElement} field */
  function place(name, field) {
    const problem = h("span", { class: "sl-field-problem", id: `sl-defaults-${name}-problem` });
    field.setAttribute("aria-describedby", problem.id);
    field.disabled = !setting.changeable;
    fields.set(name, field);
    problems.set(name, problem);
    return h("label", {}, t(`create.${name}`), field, problem);
  }
  const numbers = NUMBERS.map((name) => place(name, h("input", {
    class: "sl-field", type: "number", inputmode: "decimal", min: 0, step: name === "guidance_scale" ? 0.1 : 1, value: chosen[name] ?? "",
    placeholder: chosen[name] === undefined || chosen[name] === null ? String(model.draws?.[name] ?? "") : "" })));
  const names = NAMES.map((name) => place(name, h("select", { class: "sl-field" },
    h("option", { value: "" }, t("models.defaults.family")),
    choices[name].map((/** @type {{name: string}} */ each) => h("option", { value: each.name, selected: each.name === chosen[name] }, each.name)))));
  const general = h("p", { class: "sl-field-problem", role: "alert" });

  /** @param {Record<string, unknown> | null} value */
  async function save(value) {
    try {
      await read(await request("PATCH", "/v1/settings", { json: { checkpoint_defaults: { [model.id]: value } } }));
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      for (const [name, problem] of problems) {
        const here = error.field === `checkpoint_defaults.${model.id}.${name}`;
        setChildren(problem, here && errorWithHint(error));
        fields.get(name)?.setAttribute("aria-invalid", String(here));
        if (here) return fields.get(name)?.focus();
      }
      general.textContent = errorWithHint(error);
      return;
    }
    box.close();
    toast(t(value ? "models.defaults.saved" : "models.defaults.removed", { name: model.id }));
    onChange();
  }
  const submit = withErrorToast((/** @type {SubmitEvent} */ event) => {
    event.preventDefault();
    const given = [...fields].filter(([, field]) => field.value !== "").map(([name, field]) => [name, NAMES.includes(/** @type {any} */ (name)) ? field.value : Number(field.value)]);
    return save(given.length ? Object.fromEntries(given) : null);
  });
  const box = dialog(
    t("models.defaults.title", { name: model.id }),
    h("p", { class: "sl-hint" }, t(setting.changeable ? "models.defaults.hint" : "settings.fixed", { stored: setting.stored ?? "" })),
    h("form", { class: "sl-defaults", onsubmit: submit }, numbers, names, general,
      h("div", { class: "sl-defaults-buttons" },
        button({ label: t("models.defaults.save"), kind: "primary", type: "submit", onclick: () => {}, disabled: !setting.changeable }),
        Object.keys(chosen).length > 0 && setting.changeable && button({ icon: "undo", label: t("models.defaults.remove"), onclick: () => void save(null).catch(showError) }))),
  );
}
