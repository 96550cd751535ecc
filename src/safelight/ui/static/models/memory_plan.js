// How much memory a picture of a checkpoint takes: asked when its row is seen, one checkpoint after the other, once for each size.

import { get, query } from "../core/api.js";
import { formatBytes, t } from "../core/text.js";
import { whileVisible } from "../core/while_visible.js";

/** @typedef {{width: number, height: number, peak_bytes: number, usable_bytes: number, fits: boolean}} Plan */

const RETRY_INTERVAL = 10; // seconds, while no worker is there to plan for

/** The answers by checkpoint and size. @type {Map<string, Promise<Plan | null>>} */
const plans = new Map();
/** Ends with the last question. @type {Promise<unknown>} */
let last = Promise.resolve();

/** The plan for a checkpoint's default size; null if the server has none now. @param {import("../types").Model} model */
function planOf(model) {
  const size = { width: model.draws?.width, height: model.draws?.height };
  const key = JSON.stringify([model.id, model.size, size]);
  let plan = plans.get(key);
  if (!plan) {
    plan = last.then(() => get(`/v1/system/plan${query({ checkpoint: model.id, ...size })}`)).catch(() => {
      plans.delete(key); // so that it is asked again
      return null;
    });
    plans.set(key, plan);
    last = plan;
  }
  return plan;
}

/** Fill in an element with a checkpoint's memory when it is seen. @param {HTMLElement} element @param {import("../types").Model} model */
export function showMemory(element, model) {
  let known = false;
  whileVisible(element, async () => {
    if (known) return;
    const plan = await planOf(model);
    known = plan !== null;
    element.textContent = t("models.memory.unknown");
    if (!plan) return;
    const values = { peak: formatBytes(plan.peak_bytes), usable: formatBytes(plan.usable_bytes), width: String(plan.width), height: String(plan.height) };
    element.textContent = t(plan.fits ? "models.memory" : "models.memory.too_large", values);
    element.title = t("models.memory.title", values);
    element.classList.toggle("sl-is-bad", !plan.fits);
  }, () => (known ? Infinity : RETRY_INTERVAL));
}
