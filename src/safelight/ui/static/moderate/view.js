// What the part "Moderate" is made of, before anything is in it.

import { button, h, icon } from "../core/dom.js";
import { t } from "../core/text.js";
import { chosen } from "./files.js";

/** @typedef {"all" | "allow" | "review" | "block" | "error"} Filter */

/** @type {readonly Filter[]} */
const FILTERS = ["all", "allow", "review", "block", "error"];
const ORDERS = ["added", "highest", "lowest", "name"];

/**
 * What can be done.
 * @typedef {object} Does
 * @property {(given: ReturnType<typeof chosen>) => Promise<void>} add
 * @property {() => void} stop
 * @property {() => void} goOn
 * @property {() => void} retry
 * @property {(filter: Filter) => void} choose
 * @property {(order: string) => void} sort
 * @property {(form: "csv" | "jsonl") => void} save
 * @property {() => void} clear
 */

/** @param {Does} does */
export function makeView(does) {
  const drop = h(
    "div",
    { class: "sl-moderate-drop" },
    icon("shield"),
    h("div", { class: "sl-moderate-invite" }, h("h2", {}, t("moderate.empty")), h("p", {}, t("moderate.empty.more"))),
    h("div", { class: "sl-moderate-buttons" }, picker(false, does.add), picker(true, does.add)),
  );
  const meter = h("progress", { class: "sl-moderate-meter", max: 1, value: 0, "aria-label": t("moderate.progress") });
  const line = h("span", { class: "sl-moderate-line" });
  const stop = button({ icon: "stop", label: t("moderate.stop"), onclick: does.stop });
  const goOn = button({ icon: "right", label: t("moderate.go_on"), kind: "primary", onclick: does.goOn });
  const retry = button({ label: "", onclick: does.retry });
  const out = h(
    "div",
    { class: "sl-moderate-buttons sl-moderate-end" },
    button({ icon: "download", label: t("moderate.csv"), onclick: () => does.save("csv") }),
    button({ icon: "download", label: t("moderate.jsonl"), onclick: () => does.save("jsonl") }),
    button({ icon: "trash", label: t("moderate.clear"), bare: true, onclick: does.clear }),
  );
  const progress = h("div", { class: "sl-moderate-progress" }, line, meter, stop, goOn, retry, out);
  const news = h("p", { class: "sl-hidden", role: "status" });
  const chips = new Map(FILTERS.map((name) => [name, chip(name, () => does.choose(name))]));
  const order = h(
    "select",
    { class: "sl-field", "aria-label": t("moderate.sort"), onchange: () => does.sort(order.value) },
    ORDERS.map((name) => h("option", { value: name }, t(`moderate.sort.${name}`))),
  );
  const tools = h(
    "div",
    { class: "sl-moderate-tools" },
    h("div", { class: "sl-moderate-chips", role: "group", "aria-label": t("moderate.filter") }, ...chips.values()),
    order,
  );
  const cold = h("p", { class: "sl-hint", hidden: true });
  const none = h("p", { class: "sl-hint sl-moderate-none", hidden: true }, t("moderate.none"));
  const list = h("ul", { class: "sl-moderate-list", "aria-label": t("moderate.results") });
  const main = h("div", { class: "sl-moderate-main" }, drop, progress, news, tools, cold, none, list);
  return { main, meter, line, stop, goOn, retry, progress, news, chips, tools, cold, none, list };
}

/** @param {Filter} name @param {() => void} onclick */
const chip = (name, onclick) =>
  h("button", { type: "button", class: `sl-button sl-moderate-chip sl-is-${name}`, onclick }, name);

/**
 * A button that asks for files, or for a folder.
 * @param {boolean} folder
 * @param {Does["add"]} add
 */
function picker(folder, add) {
  const label = t(folder ? "moderate.folder" : "moderate.files");
  const input = h("input", {
    type: "file", multiple: true, hidden: true, webkitdirectory: folder, accept: folder ? null : "image/*", "aria-label": label,
    onchange: () => {
      void add(chosen(input));
      input.value = ""; // so that the same again is a change too
    },
  });
  const press = button({ icon: folder ? "plus" : "upload", label, kind: folder ? undefined : "primary", onclick: () => input.click() });
  return h("span", {}, input, press);
}
