// A user's own preferences: language, look, tiles, notices, the checkpoint to begin with; and what this browser overrides.

import { get } from "../core/api.js";
import { button, h, setChildren } from "../core/dom.js";
import { LANGUAGES, t } from "../core/text.js";
import { showError } from "../core/toast.js";
import { changePreferences, keepPreferences, LANGUAGE_KEY, LOOK_KEY } from "../core/user_preferences.js";
import { whileVisible } from "../core/while_visible.js";
import { choice, settingRow, toggle } from "./row.js";

/** @typedef {import("../types").Preferences} Preferences */

const TILE_SIZES = [96, 128, 168, 240, 360]; // pixels
// Where the choices at the top of the page and in the gallery are stored.
const OVERRIDES = /** @type {const} */ ({ language: LANGUAGE_KEY, look: LOOK_KEY, tile_size: "safelight.gallery.size" });

/** @param {import("../types").PageContext} context */
export function preferencesSection({ me }) {
  const list = h("div", { class: "sl-settings-list" });
  let rendered = "";

  async function refresh() {
    try {
      const [preferences, { data }] = await Promise.all([get("/v1/preferences"), get("/v1/models?kind=checkpoint")]);
      const key = JSON.stringify([preferences, data.map((/** @type {import("../types").Model} */ { id }) => id)]);
      if (key !== rendered) render(preferences, data); // so that a focused field stays the same element
      rendered = key;
    } catch (error) {
      showError(error);
    }
  }

  /** @param {Preferences} preferences @param {import("../types").Model[]} checkpoints */
  function render(preferences, checkpoints) {
    const stored = me.keys ? t("settings.stored.server", { owner: me.owner }) : t("settings.stored.shared");
    /** @param {keyof Preferences} name @param {HTMLElement} control @param {string} [place] */
    const row = (name, control, place = stored) => {
      const made = settingRow({ name, title: t(`settings.${name}`), description: t(`settings.${name}.about`), control, stored: place, buttons: [override(name)] });
      rows.set(name, made);
      return made.element;
    };
    /** @type {Map<string, ReturnType<typeof settingRow>>} */
    const rows = new Map();
    /** @param {keyof Preferences} name @param {any} value */
    const set = (name, value) => {
      const former = preferences[name];
      const change = (/** @type {any} */ to) => async () => {
        if (name in OVERRIDES) localStorage.removeItem(OVERRIDES[/** @type {keyof typeof OVERRIDES} */ (name)]);
        preferences = await changePreferences({ [name]: to });
        rendered = "";
        rows.get(name)?.element.querySelector(".sl-settings-override")?.remove();
        keepPreferences(preferences);
        show(name);
      };
      void rows.get(name)?.run(change(value), change(former)).catch(showError);
    };
    /** Show a value that was changed by an undo. @param {keyof Preferences} name */
    const show = (name) => {
      const field = rows.get(name)?.element.querySelector("select");
      if (field) field.value = String(preferences[name] ?? "");
      const box = /** @type {HTMLInputElement | null | undefined} */ (rows.get(name)?.element.querySelector("[role=switch]"));
      if (box) box.checked = !!preferences[name];
    };
    const automatic = t("settings.automatic");
    /** @type {[string, string][]} */
    const sizes = TILE_SIZES.map((size) => [String(size), t(`settings.tile_size.${size}`)]);
    if (preferences.tile_size && !TILE_SIZES.includes(preferences.tile_size)) sizes.push([String(preferences.tile_size), `${preferences.tile_size} px`]);
    setChildren(list,
      row("language", choice([["", automatic], .../** @type {[string, string][]} */ (preferences.languages.map((name) => [name, LANGUAGES[name] ?? name]))], preferences.language ?? "", (value) => set("language", value || null))),
      row("look", choice([["", t("look.system")], ["light", t("look.light")], ["dark", t("look.dark")]], preferences.look ?? "", (value) => set("look", value || null))),
      row("tile_size", choice([["", automatic], ...sizes], String(preferences.tile_size ?? ""), (value) => set("tile_size", value ? Number(value) : null))),
      row("default_checkpoint", choice([["", t("settings.server_default")], .../** @type {[string, string][]} */ (checkpoints.map(({ id }) => [id, id]))], preferences.default_checkpoint ?? "", (value) => set("default_checkpoint", value || null))),
      row("notify_when_done", toggle(!!preferences.notify_when_done && mayNotify(), (wanted) => void askAndSet(wanted)), `${stored} ${t("settings.stored.permission")}`));
    if (!("Notification" in window && isSecureContext)) rows.get("notify_when_done")?.element.querySelector("input")?.setAttribute("disabled", "");

    /** @param {boolean} wanted */
    async function askAndSet(wanted) {
      if (!wanted || (await Notification.requestPermission()) === "granted") return set("notify_when_done", wanted);
      const notice = rows.get("notify_when_done");
      show("notify_when_done");
      const box = notice?.element.querySelector("input");
      if (box) box.checked = false;
      const problem = notice?.element.querySelector(".sl-field-problem");
      if (problem) problem.textContent = t("settings.notify_when_done.denied");
    }
  }

  const section = h("section", { "aria-labelledby": "sl-settings-mine" },
    h("h2", { id: "sl-settings-mine" }, t("settings.mine")),
    h("p", { class: "sl-hint" }, t("settings.mine.hint")),
    list);
  whileVisible(section, refresh, () => Infinity);
  return section;
}

/** A choice elsewhere on the page has precedence in this browser: say so, with a button to forget it. @param {string} name */
function override(name) {
  const key = name in OVERRIDES ? OVERRIDES[/** @type {keyof typeof OVERRIDES} */ (name)] : null;
  const value = key && localStorage.getItem(key);
  if (!key || !value) return null;
  const texts = { language: () => LANGUAGES[value] ?? value, look: () => t(`look.${value}`), tile_size: () => t(`settings.tile_size.${TILE_SIZES[Number(value)]}`) };
  const text = texts[/** @type {keyof typeof texts} */ (name)]();
  return h("p", { class: "sl-settings-override" }, t(name === "tile_size" ? "settings.override.gallery" : "settings.override", { value: text }),
    button({ label: t("settings.override.forget"), kind: "quiet", onclick: () => (localStorage.removeItem(key), location.reload()) }));
}

const mayNotify = () => "Notification" in window && Notification.permission === "granted";
