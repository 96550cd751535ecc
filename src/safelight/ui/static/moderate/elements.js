// The elements of the Moderate tab.

import { button, h, icon } from "../core/dom.js";
import { t } from "../core/text.js";
import { filesFromInput } from "./files.js";

/** @typedef {"all" | "allow" | "review" | "block" | "error"} Filter */

/** @type {readonly Filter[]} */
const FILTERS = ["all", "allow", "review", "block", "error"];
const ORDERS = ["added", "highest", "lowest", "name"];

/**
 * Callbacks of the tab's controls.
 * @typedef {object} ViewHandlers
 * @property {(given: ReturnType<typeof filesFromInput>) => Promise<void>} add
 * @property {() => void} stop
 * @property {() => void} resume
 * @property {() => void} retry
 * @property {(filter: Filter) => void} setFilter
 * @property {(order: string) => void} sort
 * @property {(form: "csv" | "jsonl") => void} save
 * @property {() => void} clear
 */

/** @param {ViewHandlers} handlers */
export function makeView(handlers) {
  const drop = h(
    "div",
    { class: "sl-moderate-drop" },
    icon("shield"),
    h("div", { class: "sl-moderate-invite" }, h("h2", {}, t("moderate.empty")), h("p", {}, t("moderate.empty.more"))),
    h("div", { class: "sl-moderate-buttons" }, picker(false, handlers.add), picker(true, handlers.add)),
  );
  const meter = h("progress", { class: "sl-moderate-meter", max: 1, value: 0, "aria-label": t("moderate.progress") });
  const progressText = h("span", { class: "sl-moderate-line" });
  const stop = button({ icon: "stop", label: t("moderate.stop"), onclick: handlers.stop });
  const resume = button({ icon: "right", label: t("moderate.go_on"), kind: "primary", onclick: handlers.resume });
  const retry = button({ label: "", onclick: handlers.retry });
  const buttons = h(
    "div",
    { class: "sl-moderate-buttons sl-moderate-end" },
    button({ icon: "download", label: t("moderate.csv"), onclick: () => handlers.save("csv") }),
    button({ icon: "download", label: t("moderate.jsonl"), onclick: () => handlers.save("jsonl") }),
    button({ icon: "trash", label: t("moderate.clear"), iconOnly: true, onclick: handlers.clear }),
  );
  const progress = h("div", { class: "sl-moderate-progress" }, progressText, meter, stop, resume, retry, buttons);
  const liveRegion = h("p", { class: "sl-hidden", role: "status" });
  const chips = new Map(FILTERS.map((name) => [name, chip(name, () => handlers.setFilter(name))]));
  const order = h(
    "select",
    { class: "sl-field", "aria-label": t("moderate.sort"), onchange: () => handlers.sort(order.value) },
    ORDERS.map((name) => h("option", { value: name }, t(`moderate.sort.${name}`))),
  );
  const tools = h(
    "div",
    { class: "sl-moderate-tools" },
    h("div", { class: "sl-moderate-chips", role: "group", "aria-label": t("moderate.filter") }, ...chips.values()),
    order,
  );
  const heatMapNote = h("p", { class: "sl-hint", hidden: true });
  const noMatchNote = h("p", { class: "sl-hint sl-moderate-none", hidden: true }, t("moderate.none"));
  const list = h("ul", { class: "sl-moderate-list", "aria-label": t("moderate.results") });
  const main = h("div", { class: "sl-moderate-main" }, drop, progress, liveRegion, tools, heatMapNote, noMatchNote, list);
  return { main, meter, progressText, stop, resume, retry, progress, liveRegion, chips, tools, heatMapNote, noMatchNote, list };
}

/** @param {Filter} name @param {() => void} onclick */
const chip = (name, onclick) =>
  h("button", { type: "button", class: `sl-button sl-moderate-chip sl-is-${name}`, onclick }, name);

/**
 * A button that opens a file dialog, for files or for a folder.
 * @param {boolean} folder
 * @param {ViewHandlers["add"]} add
 */
function picker(folder, add) {
  const label = t(folder ? "moderate.folder" : "moderate.files");
  const input = h("input", {
    type: "file", multiple: true, hidden: true, webkitdirectory: folder, accept: folder ? null : "image/*", "aria-label": label,
    onchange: () => {
      void add(filesFromInput(input));
      input.value = ""; // so that choosing the same files again is a change
    },
  });
  const pick = button({ icon: folder ? "plus" : "upload", label, kind: folder ? undefined : "primary", onclick: () => input.click() });
  return h("span", {}, input, pick);
}
