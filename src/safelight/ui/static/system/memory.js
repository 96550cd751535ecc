// Memory use over the last hour: a chart, a summary, and a table.

import { h, setChildren } from "../core/dom.js";
import { formatBytes, formatTime, t } from "../core/text.js";
import { lineChart } from "./chart.js";

/**
 * @typedef {{time: string, server: number, workers: Record<string, number>, free: number}} Sample  bytes
 * @typedef {{every: number, samples: Sample[]}} History
 * @typedef {{name: string, values: (number | null)[]}} Series
 */

const TABLE_ROWS = 12; // over the hour

/** @returns {{element: HTMLElement, show: (history: History) => void}} */
export function memoryView() {
  const summaryText = h("p", { class: "sl-hint", id: "sl-system-memory-says" }, t("system.loading"));
  const chartBox = h("div", { class: "sl-system-chart" });
  const table = h("div", { class: "sl-system-table", tabindex: 0, role: "region", "aria-label": t("system.memory.title") });
  /** @type {History | null} */
  let current = null;
  const tableToggle = h("details", { hidden: true, ontoggle: () => current && tableToggle.open && setChildren(table, asTable(current.samples)) },
    h("summary", {}, t("system.memory.table")), table);
  const element = h("section", { "aria-labelledby": "sl-system-memory" },
    h("h2", { id: "sl-system-memory" }, t("system.memory.title")), summaryText, chartBox, tableToggle);
  return {
    element,
    show(history) {
      const last = current?.samples.at(-1)?.time;
      current = history;
      const { samples } = history;
      const enough = samples.length > 1;
      tableToggle.hidden = !enough;
      if (!enough) return setChildren(summaryText, t("system.memory.soon", { seconds: history.every }));
      if (samples.at(-1)?.time === last) return;
      summaryText.textContent = summary(samples);
      const times = samples.map(({ time }) => Date.parse(time));
      setChildren(chartBox, lineChart({ times, lines: seriesOf(samples), says: summaryText.textContent, width: Math.max(280, chartBox.clientWidth) }));
      if (tableToggle.open) setChildren(table, asTable(samples));
    },
  };
}

/** @param {Sample[]} samples @returns {Series[]} */
function seriesOf(samples) {
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
  const usedBy = (/** @type {Sample} */ { server, workers }) => Object.values(workers).reduce((sum, each) => sum + each, server);
  const peak = samples.reduce((worst, each) => (usedBy(each) > usedBy(worst) ? each : worst));
  return t("system.memory.says", { used: formatBytes(usedBy(last)), free: formatBytes(last.free), most: formatBytes(usedBy(peak)), when: formatTime(peak.time) });
}

/** @param {Sample[]} samples */
function asTable(samples) {
  const step = Math.max(1, Math.floor(samples.length / TABLE_ROWS));
  const chosen = samples.filter((_, index) => (samples.length - 1 - index) % step === 0).reverse();
  const all = seriesOf(chosen);
  return h("table", {},
    h("caption", { class: "sl-hidden" }, t("system.memory.title")),
    h("thead", {}, h("tr", {}, h("th", { scope: "col" }, t("system.memory.time")), all.map(({ name }) => h("th", { scope: "col" }, name)))),
    h("tbody", {}, chosen.map(({ time }, row) =>
      h("tr", {}, h("th", { scope: "row" }, formatTime(time)), all.map(({ values }) => h("td", {}, values[row] === null ? "–" : formatBytes(values[row] ?? 0)))))));
}
