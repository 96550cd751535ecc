// The tail of the server's log, for administrators: filter by level and text, follow new lines.

import { get, query } from "../core/api.js";
import { copyText } from "../core/clipboard.js";
import { button, h, setChildren } from "../core/dom.js";
import { formatTime, t } from "../core/text.js";
import { showError, toast, withErrorToast } from "../core/toast.js";
import { whileVisible } from "../core/while_visible.js";

/** @typedef {{time: string, level: string, event: string, source: string, fields: Record<string, unknown>}} LogLine */

const POLL_INTERVAL = 3; // seconds
const MAX_LINES = 500; // lines
const LEVELS = ["info", "warning", "error"];

export function logView() {
  /** @type {LogLine[]} */
  let lines = [];
  let failed = false;
  const level = h("select", { class: "sl-field", "aria-label": t("system.log.level"), onchange: () => ((renderedKey = ""), refresh()) },
    LEVELS.map((name) => h("option", { value: name }, t(`system.log.${name}`))));
  const search = h("input", { class: "sl-field", type: "search", placeholder: t("system.log.words"), "aria-label": t("system.log.words"), oninput: () => render() });
  const follow = button({ label: t("system.log.follow"), "aria-pressed": "true", onclick: () => {
    const on = follow.getAttribute("aria-pressed") !== "true";
    follow.setAttribute("aria-pressed", String(on));
    if (on) refresh();
  } });
  const copy = button({ icon: "copy", label: t("system.log.copy"), onclick: withErrorToast(async () => {
    await copyText(matching().map(asText).join("\n"));
    toast(t("system.log.copied"));
  }) });
  const list = h("div", { class: "sl-system-log", role: "log", "aria-live": "off", tabindex: "0", "aria-label": t("system.log") });
  const element = h("section", { "aria-labelledby": "sl-system-log" }, h("h2", { id: "sl-system-log" }, t("system.log")),
    h("div", { class: "sl-system-tools" }, level, search, follow, copy), list);

  const isFollowing = () => follow.getAttribute("aria-pressed") === "true";
  const matching = () => {
    const text = search.value.trim().toLowerCase();
    return text ? lines.filter((line) => asText(line).toLowerCase().includes(text)) : lines;
  };
  let renderedKey = "";
  function render() {
    const shown = matching();
    const newKey = `${shown.length} ${shown.at(-1)?.time} ${shown[0]?.time} ${search.value} ${level.value}`;
    if (newKey === renderedKey) return;
    renderedKey = newKey;
    const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 40 || !list.firstChild;
    setChildren(list, shown.length ? shown.map(asRow) : h("p", { class: "sl-system-none" }, t(lines.length ? "system.log.no_match" : "system.log.none")));
    if (atEnd && isFollowing()) list.scrollTop = list.scrollHeight;
  }
  setChildren(list, h("p", { class: "sl-system-none" }, t("system.loading")));

  const refresh = whileVisible(
    element,
    async () => {
      try {
        lines = (await get(`/v1/system/log${query({ limit: MAX_LINES, level: level.value })}`)).lines;
        failed = false;
        render();
      } catch (error) {
        if (failed) return; // reported already
        failed = true;
        renderedKey = "";
        setChildren(list, h("p", { class: "sl-system-none" }, t("system.log.unread")));
        showError(error);
      }
    },
    () => (isFollowing() ? POLL_INTERVAL : Infinity),
  );
  return element;
}

/** @param {LogLine} line */
function asRow(line) {
  return h("p", { class: `sl-system-entry sl-is-${line.level}` },
    h("time", { datetime: line.time }, formatTime(line.time)), " ", h("b", {}, line.level), " ", h("span", {}, line.event), " ",
    h("small", {}, [fieldsText(line), line.source].filter(Boolean).join("  ")));
}

/** @param {LogLine} line */
const asText = (line) => [line.time, line.level, line.event, fieldsText(line), line.source].filter(Boolean).join(" ");

/** @param {LogLine} line */
const fieldsText = ({ fields }) =>
  Object.entries(fields).map(([name, value]) => `${name}=${typeof value === "string" ? value : JSON.stringify(value)}`).join(" ");
