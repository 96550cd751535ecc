// How an action is done: its last choices, kept in the browser, and the popovers that ask for others.

import { get } from "../core/api.js";
import { button, h } from "../core/dom.js";
import { openPopover } from "../core/popover.js";
import { formatNumber, formatPercent, t } from "../core/text.js";

/** @typedef {{count: number, strength: number}} Variations  strength: fraction of another seed's noise, 0 to 1 */
/** @typedef {{by: number, upscaler: string}} Upscaling */

const VARIATIONS_KEY = "safelight.variations", UPSCALING_KEY = "safelight.upscaling";
const COUNTS = [1, 4, 10];
const NEARNESS = { close: 0.1, medium: 0.2, far: 0.4 }; // variation strengths
const FACTORS = [1.5, 2, 3, 4];
const RESAMPLING = "lanczos"; // without an upscaling model

/** The last choice of how many variations, and how near. @returns {Variations} */
export const lastVariations = () => ({ count: 4, strength: NEARNESS.medium, ...readChoice(VARIATIONS_KEY) });

/** The last choice of factor and upscaler; of upscalers the largest model if none was chosen. @returns {Promise<Upscaling>} */
export async function lastUpscaling() {
  const upscalers = await listUpscalers();
  /** @type {Upscaling} */
  const last = { by: 2, upscaler: "", ...readChoice(UPSCALING_KEY) };
  if (upscalers.some(({ id }) => id === last.upscaler)) return last;
  const [largest] = upscalers.filter(({ size }) => size).sort((one, other) => Number(other.size) - Number(one.size));
  return { ...last, upscaler: largest?.id ?? RESAMPLING };
}

/** Ask how many variations, and how near; a press on a number makes them. @param {import("../core/popover.js").Place} place @param {(chosen: Variations) => unknown} run */
export function chooseVariations(place, run) {
  const last = lastVariations();
  let { strength } = last;
  const nearness = segments(t("vary.nearness"), Object.entries(NEARNESS).map(([name, value]) => [value, `${t(`vary.${name}`)} · ${formatPercent(value)}`]), strength, (chosen) => (strength = chosen));
  const start = (/** @type {number} */ count) => {
    popover?.close();
    storeChoice(VARIATIONS_KEY, { count, strength });
    run({ count, strength });
  };
  const counts = COUNTS.map((count) => button({ label: formatNumber(count), kind: count === last.count ? "primary" : undefined, "aria-label": t("vary.make", { n: count }), title: t("vary.make", { n: count }), onclick: () => start(count) }));
  const popover = openPopover(place, t("vary.title"), [nearness, h("div", { class: "sl-segments-line" }, h("span", { class: "sl-hint" }, t("vary.count")), h("div", { class: "sl-counts" }, counts))]);
}

/** Ask for factor and upscaler. @param {import("../core/popover.js").Place} place @param {(chosen: Upscaling) => unknown} run */
export async function chooseUpscaling(place, run) {
  const [last, upscalers] = await Promise.all([lastUpscaling(), listUpscalers()]);
  let { by } = last;
  const factors = segments(t("upscale.by"), FACTORS.map((factor) => [factor, `× ${formatNumber(factor)}`]), by, (chosen) => (by = chosen));
  const upscaler = h("select", { class: "sl-field" }, upscalers.map(({ id }) => h("option", { value: id, selected: id === last.upscaler }, id)));
  const start = () => {
    popover?.close();
    const chosen = { by, upscaler: upscaler.value };
    storeChoice(UPSCALING_KEY, chosen);
    run(chosen);
  };
  const popover = openPopover(place, t("upscale.title"), [
    factors,
    h("label", { class: "sl-segments-line" }, h("span", { class: "sl-hint" }, t("upscale.upscaler")), upscaler),
    button({ icon: "enlarge", label: t("viewer.upscale"), kind: "primary", onclick: start }),
  ]);
}

/** @returns {Promise<import("../types").Model[]>} */
const listUpscalers = async () => (await get("/v1/models?kind=upscaler")).data;

/**
 * A line of radio buttons.
 * @param {string} label
 * @param {[value: number, label: string][]} options
 * @param {number} chosen
 * @param {(value: number) => void} onchange
 */
function segments(label, options, chosen, onchange) {
  const name = `sl-segments-${label}`;
  return h("fieldset", { class: "sl-segments" }, h("legend", { class: "sl-hint" }, label),
    h("div", {}, options.map(([value, text]) => h("label", {}, h("input", { type: "radio", name, checked: value === chosen, onchange: () => onchange(value) }), h("span", {}, text)))));
}

/** @param {string} key @returns {Record<string, any>} */
function readChoice(key) {
  try {
    return JSON.parse(localStorage.getItem(key) ?? "{}");
  } catch {
    return {};
  }
}

/** @param {string} key @param {Variations | Upscaling} choice */
const storeChoice = (key, choice) => localStorage.setItem(key, JSON.stringify(choice));
