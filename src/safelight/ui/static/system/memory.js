// Memory over the last hour: lines, what they say in a sentence, and the numbers as a table.

import { fill, h } from "../core/dom.js";
import { clock, size, t } from "../core/text.js";
import { lineChart } from "./chart.js";

/**
 * @typedef {{time: string, server: number, workers: Record<string, number>, free: number}} Sample  bytes
 * @typedef {{every: number, samples: Sample[]}} History
 * @typedef {{name: string, values: (number | null)[]}} Line
 */

const ROWS = 12; // of the table: the hour in steps

/** @returns {{element: HTMLElement, show: (history: History) => void}} */
export function memoryView() {
  const says = h("p", { class: "sl-hint", id: "sl-system-memory-says" }, t("system.loading"));
  const place = h("div", { class: "sl-system-chart" });
  const table = h("div", { class: "sl-system-table" });
  /** @type {History | null} */
  let newest = null;
  const fold = h("details", { hidden: true, ontoggle: () => newest && fold.open && fill(table, asTable(newest.samples)) },
    h("summary", {}, t("system.memory.table")), table);
  const element = h("section", { "aria-labelledby": "sl-system-memory" },
    h("h2", { id: "sl-system-memory" }, t("system.memory.title")), says, place, fold);
  return {
    element,
    show(history) {
      const last = newest?.samples.at(-1)?.time;
      newest = history;
      const { samples } = history;
      const enough = samples.length > 1;
      fold.hidden = !enough;
      if (!enough) return fill(says, t("system.memory.soon", { seconds: history.every }));
      if (samples.at(-1)?.time === last) return;
      says.textContent = summary(samples);
      const times = samples.map(({ time }) => Date.parse(time));
      fill(place, lineChart({ times, lines: lines(samples), says: says.textContent, width: Math.max(280, place.clientWidth) }));
      if (fold.open) fill(table, asTable(samples));
    },
  };
}

/** @param {Sample[]} samples @returns {Line[]} */
function lines(samples) {
  const names = [...new Set(samples.flatMap(({ workers }) => Object.keys(workers)))];
  return [
    { name: t("system.memory.free"), values: samples.map(({ free }) => free) },
    { name: t("system.memory.server"), values: samples.map(({ server }) => server) },
    ...names.map((name) => ({ name, values: samples.map(({ workers }) => workers[name] ?? null) })),
  ];
}

/** @param {Sample[]} samples */
function summary(samples) {
  const last = samples[samples.length - 1];
  const used = (/** @type {Sample} */ { server, workers }) => Object.values(workers).reduce((sum, each) => sum + each, server);
  const most = samples.reduce((worst, each) => (used(each) > used(worst) ? each : worst));
  return t("system.memory.says", { used: size(used(last)), free: size(last.free), most: size(used(most)), when: clock(most.time) });
}

/** @param {Sample[]} samples */
function asTable(samples) {
  const step = Math.max(1, Math.floor(samples.length / ROWS));
  const chosen = samples.filter((_, index) => (samples.length - 1 - index) % step === 0).reverse();
  const all = lines(chosen);
  return h("table", {},
    h("caption", { class: "sl-hidden" }, t("system.memory.title")),
    h("thead", {}, h("tr", {}, h("th", { scope: "col" }, t("system.memory.time")), all.map(({ name }) => h("th", { scope: "col" }, name)))),
    h("tbody", {}, chosen.map(({ time }, row) =>
      h("tr", {}, h("th", { scope: "row" }, clock(time)), all.map(({ values }) => h("td", {}, values[row] === null ? "–" : size(values[row] ?? 0)))))));
}
