// The server's settings, for administrators: groups with a search, changed one by one; and those that need a restart.

import { get, read, request } from "../core/api.js";
import { button, h, setChildren } from "../core/dom.js";
import { formatNumber, hasText, t } from "../core/text.js";
import { showError } from "../core/toast.js";
import { whileVisible } from "../core/while_visible.js";
import { controlFor, shownValue } from "./control.js";
import { settingRow } from "./row.js";

/** @typedef {import("../types").Setting} Setting */

const GROUPS = /** @type {const} */ (["generation", "moderation", "limits", "retention", "page"]);

/** @param {import("../types").PageContext} context */
export function serverSection({ show: showTab }) {
  const search = h("input", { class: "sl-field", type: "search", placeholder: t("settings.search"), "aria-label": t("settings.search"), oninput: () => filter() });
  const groups = h("div", { class: "sl-settings-groups" });
  const fixed = h("tbody", {});
  const fixedCount = h("span", {});
  const details = h("details", { class: "sl-settings-fixed" },
    h("summary", {}, t("settings.restart"), " ", fixedCount),
    h("p", { class: "sl-hint" }, t("settings.restart.hint")),
    h("div", { class: "sl-settings-table" }, h("table", {},
      h("thead", {}, h("tr", {}, ["name", "value", "source"].map((column) => h("th", { scope: "col" }, t(`settings.column.${column}`))))), fixed)));
  const none = h("p", { class: "sl-hint", role: "status" });
  /** Texts that are searched, by row. @type {Map<HTMLElement, string>} */
  const texts = new Map();
  let rendered = "";

  async function refresh() {
    try {
      const { settings } = await get("/v1/settings");
      if (JSON.stringify(settings) !== rendered) render(settings); // so that a focused field stays the same element
    } catch (error) {
      showError(error);
    }
  }

  /** @param {Setting[]} settings */
  function render(settings) {
    rendered = JSON.stringify(settings);
    texts.clear();
    setChildren(groups, GROUPS.map((group) => h("section", { "aria-labelledby": `sl-settings-${group}` },
      h("h3", { id: `sl-settings-${group}` }, t(`settings.group.${group}`)),
      h("div", { class: "sl-settings-list" }, settings.filter((setting) => setting.group === group).map(row)))));
    const others = settings.filter(({ group }) => group === null);
    fixedCount.textContent = formatNumber(others.length);
    setChildren(fixed, others.map(fixedRow));
    filter();
  }

  /** @param {Setting} setting */
  function row(setting) {
    let current = setting;
    const holder = h("div", { class: "sl-settings-holder" });
    const title = titleOf(setting), description = descriptionOf(setting);
    const reset = button({ icon: "undo", label: t("settings.reset"), "aria-label": t("settings.reset.name", { name: title }), kind: "quiet", onclick: () => change(null) });
    const made = settingRow({ name: setting.name, title, description, control: holder, stored: "", buttons: [reset] });

    /** @param {any} value  null: without a change */
    const change = (value) => {
      const former = current.source === "runtime" ? current.value : null;
      const put = (/** @type {any} */ to) => async () => {
        const answer = await read(await request("PATCH", "/v1/settings", { json: { [setting.name]: to } }));
        rendered = JSON.stringify(answer.settings);
        current = answer.settings.find((/** @type {Setting} */ each) => each.name === setting.name);
        show();
      };
      made.run(put(value), put(former)).catch(showError);
    };
    function show() {
      const control = setting.name === "checkpoint_defaults" ? checkpointDefaults(current, () => showTab("models")) : controlFor(current, change);
      const focused = holder.contains(document.activeElement);
      setChildren(holder, control);
      made.label();
      if (focused) /** @type {HTMLElement | null} */ (holder.querySelector("input, select"))?.focus({ preventScroll: true });
      made.place.textContent = sourceOf(current);
      reset.hidden = current.source !== "runtime";
    }
    show();
    texts.set(made.element, [setting.name, title, description].join(" ").toLocaleLowerCase());
    return made.element;
  }

  /** @param {Setting} setting */
  function fixedRow(setting) {
    const element = h("tr", {},
      h("th", { scope: "row" }, h("code", {}, setting.name), h("span", { class: "sl-hint" }, setting.description)),
      h("td", {}, shownValue(setting, setting.value)),
      h("td", {}, sourceOf(setting)));
    texts.set(element, `${setting.name} ${setting.description}`.toLocaleLowerCase());
    return element;
  }

  /** Show only what has the words of the search in it. */
  function filter() {
    const words = search.value.toLocaleLowerCase().split(/\s+/).filter(Boolean);
    for (const [element, text] of texts) element.hidden = !words.every((word) => text.includes(word));
    for (const group of groups.children) /** @type {HTMLElement} */ (group).hidden = ![...texts.keys()].some((element) => !element.hidden && group.contains(element));
    const restart = [...fixed.children].some((each) => !(/** @type {HTMLElement} */ (each).hidden));
    details.hidden = !restart;
    if (words.length && restart) details.open = true;
    none.textContent = [...texts.keys()].every(({ hidden }) => hidden) && texts.size ? t("settings.search.none") : "";
  }

  const section = h("section", { "aria-labelledby": "sl-settings-server" },
    h("h2", { id: "sl-settings-server" }, t("settings.server")),
    h("p", { class: "sl-hint" }, t("settings.server.hint")),
    h("div", { class: "sl-settings-search", role: "search" }, search),
    groups, none, details);
  whileVisible(section, refresh, () => Infinity);
  return section;
}

/** The defaults of checkpoints, which are edited at each of them. @param {Setting} setting @param {() => void} edit */
function checkpointDefaults({ value }, edit) {
  return h("div", { class: "sl-settings-defaults" },
    h("ul", {}, Object.entries(value).map(([name, defaults]) =>
      h("li", {}, h("code", {}, name), " ", Object.entries(/** @type {object} */ (defaults)).filter(([, each]) => each !== null).map(([field, each]) => `${t(`create.${field}`)} ${each}`).join(", ")))),
    button({ icon: "edit", label: t("settings.checkpoint_defaults.edit"), onclick: edit }));
}

/** @param {Setting} setting */
const titleOf = ({ name }) => (hasText(`settings.of.${name}`) ? t(`settings.of.${name}`) : name);
/** @param {Setting} setting */
const descriptionOf = ({ name, description }) => (hasText(`settings.of.${name}.about`) ? t(`settings.of.${name}.about`) : description);
/** Where a value comes from. @param {Setting} setting */
const sourceOf = (setting) => {
  const values = { stored: setting.stored ?? "", configured: shownValue(setting, setting.configured), name: setting.name };
  return t(setting.group !== null && !setting.changeable ? "settings.fixed" : `settings.source.${setting.source}`, values);
};
