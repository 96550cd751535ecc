// The Settings tab: a user's own preferences, and for administrators what can be changed while the server runs.

import { h, setChildren } from "./core/dom.js";
import { t } from "./core/text.js";
import { preferencesSection } from "./settings/preferences.js";
import { serverSection } from "./settings/server.js";

/**
 * @param {HTMLElement} root
 * @param {import("./types").PageContext} context
 */
export function mount(root, context) {
  root.classList.add("sl-settings");
  setChildren(root, preferencesSection(context), context.me.role === "admin" ? serverSection(context) : h("p", { class: "sl-hint" }, t("settings.by_admin")));
}
