// The settings as the palette finds them, also before the Settings tab has been loaded.

import { textKeys, t } from "../core/text.js";
import { whenVisible } from "../core/scroll.js";
import { waitForElement } from "../core/dom.js";

const PREFERENCES = ["language", "look", "tile_size", "default_checkpoint", "notify_when_done"];
const SERVER = "settings.of.";

/** @param {import("../types").PageContext} context @returns {import("../core/palette.js").PaletteEntry[]} */
export function settingsEntries({ me, show }) {
  const entry = (/** @type {string} */ key, /** @type {string} */ name) => ({ key, aliases: [name, name.replaceAll("_", " ")], group: t("tab.settings"), run: () => showSetting(show, name) });
  const server = me.role === "admin" ? textKeys(SERVER).filter((key) => !key.endsWith(".about")) : [];
  return [
    { key: "tab.settings", aliases: ["options", "preferences", "configuration"], group: t("palette.tabs"), run: () => show("settings") },
    ...PREFERENCES.map((name) => entry(`settings.${name}`, name)),
    ...server.map((key) => entry(key, key.slice(SERVER.length))),
  ];
}

/** Show a setting in its tab, and focus its control. @param {(tab: string) => void} show @param {string} name */
async function showSetting(show, name) {
  show("settings");
  const row = await waitForElement(`.sl-settings-row[data-setting="${name}"]`);
  const search = document.querySelector(/** @type {"input"} */ (".sl-settings-search input"));
  if (row.hidden && search) {
    search.value = ""; // it does not have the setting among its results
    search.dispatchEvent(new Event("input"));
  }
  await whenVisible(row);
  row.scrollIntoView({ block: "center" });
  (/** @type {HTMLElement | null} */ (row.querySelector("input:enabled, select:enabled, button")) ?? row).focus({ preventScroll: true });
}
