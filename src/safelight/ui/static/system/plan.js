// The plan of a picture's memory on a worker's device, for a checkpoint in a size; and what the last pictures took.

import { get, query } from "../core/api.js";
import { h, setChildren } from "../core/dom.js";
import { formatBytes, formatNumber, formatPercent, t } from "../core/text.js";
import { whileVisible } from "../core/while_visible.js";

/**
 * @typedef {object} Stage
 * @property {string} name
 * @property {string} component
 * @property {"device" | "blocks" | "disk"} placement
 * @property {number} weight_bytes
 * @property {number} activation_bytes
 * @property {number} peak_bytes
 * @property {number} copied_bytes
 * @property {string[]} steps
 *
 * @typedef {object} Plan
 * @property {string} checkpoint
 * @property {number} width
 * @property {number} height
 * @property {string} worker
 * @property {string} device
 * @property {boolean} fits
 * @property {string} precision
 * @property {number} peak_bytes
 * @property {number} usable_bytes
 * @property {number} host_bytes
 * @property {string[]} steps_taken
 * @property {Stage[]} stages
 *
 * @typedef {{family: string, stage: string, planned: number | null, measured: number | null}} StagePeak  bytes
 */

const POLL_INTERVAL = 15; // seconds
const TYPING_PAUSE = 600; // milliseconds
const TEXT_ENCODER = /^text_encoder(?:_(\d+))?$/;

/** @returns {{element: HTMLElement, showPeaks: (workers: import("./worker.js").Worker[]) => void}} */
export function planView() {
  const checkpoint = h("select", { class: "sl-field", "aria-label": t("system.plan.checkpoint"), onchange: () => choose() });
  const sizes = ["width", "height"].map((side) => h("input", {
    class: "sl-field", type: "number", inputmode: "numeric", min: 16, max: 16384, step: 8, "aria-label": t(`system.plan.${side}`), oninput: () => typed(),
  }));
  const [width, height] = sizes;
  const status = h("p", { class: "sl-hint", role: "status" });
  const body = h("div", { class: "sl-plan-body" });
  const peaks = h("div", { class: "sl-plan-peaks" });
  const element = h("section", { class: "sl-plan", "aria-labelledby": "sl-system-plan" },
    h("h2", { id: "sl-system-plan" }, t("system.plan")),
    h("div", { class: "sl-system-tools" }, checkpoint, h("span", { class: "sl-plan-size" }, width, h("span", { "aria-hidden": "true" }, "×"), height)),
    status, body, peaks);

  let timer = 0, requested = 0, shown = "", peaksKey = "";
  /** Another checkpoint has another default size. */
  function choose() {
    for (const input of sizes) [input.value, input.placeholder] = ["", ""];
    setChildren(body);
    void update();
  }
  function typed() {
    clearTimeout(timer);
    timer = setTimeout(() => void update(), TYPING_PAUSE);
  }
  async function update() {
    const number = ++requested;
    if (sizes.some((input) => !input.validity.valid)) return void (status.textContent = t("system.plan.size"));
    // While it is counted: the first plan for a checkpoint in a size takes seconds.
    const counting = setTimeout(() => number === requested && (status.textContent = t("system.plan.counting")), 400);
    try {
      const plan = await get(`/v1/system/plan${query({ checkpoint: checkpoint.value, width: width.value, height: height.value })}`);
      if (number === requested) show(plan);
    } catch (error) {
      if (number !== requested) return;
      shown = "";
      setChildren(body);
      const { message, hint } = /** @type {import("../core/api.js").ApiError} */ (error);
      status.textContent = [message, hint].filter(Boolean).join(" ");
    } finally {
      clearTimeout(counting);
    }
  }
  /** @param {Plan} plan */
  function show(plan) {
    width.placeholder = String(plan.width);
    height.placeholder = String(plan.height);
    status.textContent = "";
    const key = JSON.stringify({ ...plan, usable_bytes: Math.round(plan.usable_bytes / 1e8) });
    if (key === shown && body.firstChild) return;
    shown = key;
    setChildren(body, asPlan(plan));
  }
  async function listCheckpoints() {
    const { data } = await get("/v1/models?kind=checkpoint");
    const names = data.map((/** @type {import("../types").Model} */ { id }) => id);
    if (names.join("\n") === [...checkpoint.options].map(({ value }) => value).join("\n")) return;
    const usual = data.find((/** @type {import("../types").Model} */ model) => model.default)?.id;
    const chosen = names.includes(checkpoint.value) ? checkpoint.value : usual;
    setChildren(checkpoint, names.map((/** @type {string} */ name) => h("option", { value: name, selected: name === chosen }, name)));
  }

  whileVisible(element, async () => {
    await listCheckpoints().catch(() => undefined); // the plan says why
    await update();
  }, () => POLL_INTERVAL);
  return {
    element,
    showPeaks(workers) {
      const reported = workers.filter((worker) => worker.stages?.length || worker.shortages);
      const key = JSON.stringify(reported.map(({ name, stages, shortages }) => [name, stages, shortages]));
      if (key === peaksKey) return;
      peaksKey = key;
      setChildren(peaks, reported.map(asPeaks));
    },
  };
}

/** @param {Plan} plan */
function asPlan(plan) {
  const scale = Math.max(plan.peak_bytes, plan.usable_bytes);
  return [
    h("p", { class: "sl-plan-verdict" },
      h("span", { class: `sl-badge ${plan.fits ? "sl-allow" : "sl-block"}` }, t(plan.fits ? "system.plan.fits" : "system.plan.too_large")),
      t("system.plan.says", {
        width: String(plan.width), height: String(plan.height), peak: formatBytes(plan.peak_bytes), usable: formatBytes(plan.usable_bytes),
        device: plan.device, precision: plan.precision, worker: plan.worker,
      }),
      plan.host_bytes > 0 && ` ${t("system.plan.host", { host: formatBytes(plan.host_bytes) })}`),
    h("ul", { class: "sl-plan-steps", "aria-label": t("system.plan.steps") },
      plan.steps_taken.length
        ? plan.steps_taken.map((step) => h("li", {}, h("span", { class: "sl-badge" }, step), h("span", {}, t(`system.plan.step.${step}`))))
        : h("li", {}, t("system.plan.step.none"))),
    h("ol", { class: "sl-plan-stages" }, plan.stages.map((stage) => asStage(stage, scale))),
    h("p", { class: "sl-plan-legend sl-hint", "aria-hidden": "true" },
      ["weights", "activations", "usable"].map((name) => h("span", {}, h("i", { class: `sl-plan-${name}` }), t(`system.plan.${name}`)))),
  ];
}

/** @param {Stage} stage @param {number} scale  bytes of the whole bar */
function asStage(stage, scale) {
  const share = (/** @type {number} */ bytes) => `width: ${((100 * bytes) / scale).toFixed(2)}%`;
  const copied = stage.placement === "device" ? "" : ` ${t("system.plan.copied", { bytes: formatBytes(stage.copied_bytes) })}`;
  const parts = t("system.plan.parts", { weights: formatBytes(stage.weight_bytes), activations: formatBytes(stage.activation_bytes) });
  return h("li", {},
    h("span", { class: "sl-plan-stage" }, stageName(stage.name),
      h("small", {}, `${stage.component} ${t(`system.plan.on.${stage.placement}`)}${copied}`)),
    h("span", { class: "sl-plan-bar", role: "img", "aria-label": parts, title: parts },
      h("i", { class: "sl-plan-weights", style: share(stage.weight_bytes) }),
      h("i", { class: "sl-plan-activations", style: share(stage.peak_bytes - stage.weight_bytes) })),
    h("b", {}, formatBytes(stage.peak_bytes)));
}

/** @param {import("./worker.js").Worker} worker */
function asPeaks({ name, stages = [], shortages = 0 }) {
  const families = [...new Set(stages.map(({ family }) => family))];
  return h("div", {},
    h("h3", {}, t("system.plan.last", { worker: name })),
    shortages > 0 && h("p", { class: "sl-plan-short" }, t("system.plan.short", { n: shortages })),
    stages.length > 0 && h("div", { class: "sl-system-table", tabindex: 0, role: "region", "aria-label": t("system.plan.last", { worker: name }) }, h("table", {},
      h("thead", {}, h("tr", {}, ["stage", "planned", "measured", "difference"].map((column) => h("th", { scope: "col" }, t(`system.plan.column.${column}`))))),
      families.map((family) => h("tbody", {},
        h("tr", {}, h("th", { scope: "rowgroup", colspan: 4 }, family)),
        stages.filter((stage) => stage.family === family).map(asPeakRow))))));
}

/** @param {StagePeak} peak */
function asPeakRow({ stage, planned, measured }) {
  const bytes = (/** @type {number | null} */ value) => (value === null ? "–" : formatBytes(value));
  const difference = planned && measured ? measured / planned - 1 : null;
  const sign = difference !== null && difference > 0 ? "+" : "";
  return h("tr", {}, h("th", { scope: "row" }, stageName(stage)), h("td", {}, bytes(planned)), h("td", {}, bytes(measured)),
    h("td", {}, difference === null ? "–" : sign + formatPercent(difference)));
}

/** @param {string} name */
function stageName(name) {
  const encoder = TEXT_ENCODER.exec(name);
  if (encoder) return encoder[1] ? `${t("system.plan.stage.text_encoder")} ${formatNumber(Number(encoder[1]))}` : t("system.plan.stage.text_encoder");
  return t(`system.plan.stage.${name.replace(" ", "_")}`);
}
