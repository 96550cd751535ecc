// The end of the server's log, for administrators: by level and by words, following what comes.

import { get, query } from "../core/api.js";
import { copyText } from "../core/clipboard.js";
import { button, fill, h } from "../core/dom.js";
import { clock, t } from "../core/text.js";
import { complain, toast, watched } from "../core/toast.js";
import { whileVisible } from "../core/visible.js";

/** @typedef {{time: string, level: string, event: string, source: string, fields: Record<string, unknown>}} Line */

const EVERY = 3; // seconds
const LIMIT = 500; // lines
const LEVELS = ["info", "warning", "error"];

export function logView() {
  /** @type {Line[]} */
  let lines = [];
  let failed = false;
  const level = h("select", { class: "sl-field", "aria-label": t("system.log.level"), onchange: () => ((key = ""), look()) },
    LEVELS.map((name) => h("option", { value: name }, t(`system.log.${name}`))));
  const words = h("input", { class: "sl-field", type: "search", placeholder: t("system.log.words"), "aria-label": t("system.log.words"), oninput: () => show() });
  const follow = button({ label: t("system.log.follow"), "aria-pressed": "true", onclick: () => {
    const on = follow.getAttribute("aria-pressed") !== "true";
    follow.setAttribute("aria-pressed", String(on));
    if (on) look();
  } });
  const copy = button({ icon: "copy", label: t("system.log.copy"), onclick: watched(async () => {
    await copyText(chosen().map(asText).join("\n"));
    toast(t("system.log.copied"));
  }) });
  const list = h("div", { class: "sl-system-log", role: "log", "aria-live": "off", tabindex: "0", "aria-label": t("system.log") });
  const element = h("section", { "aria-labelledby": "sl-system-log" }, h("h2", { id: "sl-system-log" }, t("system.log")),
    h("div", { class: "sl-system-tools" }, level, words, follow, copy), list);

  const isFollowing = () => follow.getAttribute("aria-pressed") === "true";
  const chosen = () => {
    const wanted = words.value.trim().toLowerCase();
    return wanted ? lines.filter((line) => asText(line).toLowerCase().includes(wanted)) : lines;
  };
  let key = "";
  function show() {
    const shown = chosen();
    const now = `${shown.length} ${shown.at(-1)?.time} ${shown[0]?.time} ${words.value} ${level.value}`;
    if (now === key) return;
    key = now;
    const last = list.scrollHeight - list.scrollTop - list.clientHeight < 40 || !list.firstChild;
    fill(list, shown.length ? shown.map(asRow) : h("p", { class: "sl-system-none" }, t(lines.length ? "system.log.no_match" : "system.log.none")));
    if (last && isFollowing()) list.scrollTop = list.scrollHeight;
  }
  fill(list, h("p", { class: "sl-system-none" }, t("system.loading")));

  const look = whileVisible(
    element,
    async () => {
      try {
        lines = (await get(`/v1/system/log${query({ limit: LIMIT, level: level.value })}`)).lines;
        failed = false;
        show();
      } catch (error) {
        if (failed) return; // said once
        failed = true;
        key = "";
        fill(list, h("p", { class: "sl-system-none" }, t("system.log.unread")));
        complain(error);
      }
    },
    () => (isFollowing() ? EVERY : Infinity),
  );
  return element;
}

/** @param {Line} line */
function asRow(line) {
  return h("p", { class: `sl-system-entry sl-is-${line.level}` },
    h("time", { datetime: line.time }, clock(line.time)), " ", h("b", {}, line.level), " ", h("span", {}, line.event), " ",
    h("small", {}, [rest(line), line.source].filter(Boolean).join("  ")));
}

/** @param {Line} line */
const asText = (line) => [line.time, line.level, line.event, rest(line), line.source].filter(Boolean).join(" ");

/** @param {Line} line */
const rest = ({ fields }) =>
  Object.entries(fields).map(([name, value]) => `${name}=${typeof value === "string" ? value : JSON.stringify(value)}`).join(" ");
