// The editor's toolbar: one stop for the tab key, arrow keys within; what cannot be used now says so and stays in place.

import { button, h } from "../core/dom.js";
import { t } from "../core/text.js";

/** @typedef {"brush" | "eraser" | "expand"} Tool */
/** @typedef {keyof typeof BUTTONS} Name */
/** @typedef {{tool: Tool, painted: boolean, expanded: boolean, hidden: boolean, canUndo: boolean, canRedo: boolean}} State */

/** For each button its icon, its group, whether it shows its name, and the keys that do the same. */
const BUTTONS = /** @type {const} */ ({
  brush: { icon: "brush", group: "tools", worded: true, keys: "B" },
  eraser: { icon: "eraser", group: "tools", worded: true, keys: "E" },
  expand: { icon: "enlarge", group: "tools", worded: true },
  undo: { icon: "undo", group: "history", keys: "Control+Z" },
  redo: { icon: "redo", group: "history", keys: "Control+Shift+Z" },
  invert: { icon: "compare", group: "mask" },
  hide: { icon: "eye", group: "mask" },
  clear: { icon: "close", group: "mask", worded: true },
  reset: { icon: "undo", group: "expand", worded: true },
  out: { icon: "minus", group: "zoom" },
  fit: { icon: "fit", group: "zoom" },
  in: { icon: "plus", group: "zoom" },
  replace: { icon: "upload", group: "picture" },
  remove: { icon: "trash", group: "picture" },
});
const NAMES = /** @type {Name[]} */ (Object.keys(BUTTONS));
const GROUPS = [...new Set(NAMES.map((name) => BUTTONS[name].group))];

export class Toolbar {
  /** @param {(name: Name) => void} press  A button was pressed that can be. */
  constructor(press) {
    this.press = press;
    this.buttons = /** @type {Record<Name, HTMLButtonElement>} */ (Object.fromEntries(NAMES.map((name) => [name, this.#make(name)])));
    this.groups = new Map(GROUPS.map((group) => [group, this.#group(group)]));
    this.element = h(
      "div",
      { class: "sl-editor-toolbar", role: "toolbar", "aria-label": t("editor.tools"), onkeydown: (/** @type {KeyboardEvent} */ event) => this.#key(event) },
      [...this.groups.values()],
    );
    this.#stop(this.buttons.brush);
  }

  /** @param {State} state */
  update({ tool, painted, expanded, hidden, canUndo, canRedo }) {
    const painting = tool !== "expand";
    this.groups.get("history")?.toggleAttribute("hidden", !painting);
    this.groups.get("mask")?.toggleAttribute("hidden", !painting);
    this.groups.get("expand")?.toggleAttribute("hidden", painting);
    for (const name of /** @type {const} */ (["brush", "eraser", "expand"])) this.buttons[name].ariaPressed = String(tool === name);
    this.buttons.hide.ariaPressed = String(hidden);
    this.#can("brush", !expanded, "editor.brush.not");
    this.#can("eraser", !expanded, "editor.brush.not");
    this.#can("expand", !painted, "editor.expand.not");
    this.#can("undo", canUndo);
    this.#can("redo", canRedo);
    this.#can("clear", painted);
    this.#can("reset", expanded);
    if (!this.#usable().some((each) => each.tabIndex === 0)) this.#stop(this.buttons.brush);
  }

  /** @param {Name} name @param {boolean} can @param {string} [why]  Key of the text that says why not. */
  #can(name, can, why) {
    const each = this.buttons[name];
    each.ariaDisabled = can ? null : "true";
    each.title = can || !why ? titled(name) : t(why);
  }

  /** @param {Name} name */
  #make(name) {
    const { icon, ...more } = BUTTONS[name];
    return button({
      icon, label: t(`editor.${name}`), title: titled(name), tabindex: -1, "data-name": name,
      bare: !("worded" in more),
      "aria-keyshortcuts": "keys" in more ? more.keys : null,
      onclick: () => this.buttons[name].ariaDisabled !== "true" && this.press(name),
      onfocus: () => this.#stop(this.buttons[name]),
    });
  }

  /** @param {string} group */
  #group(group) {
    const names = NAMES.filter((name) => BUTTONS[name].group === group);
    return h("div", { class: `sl-editor-group sl-${group}`, role: "group", "aria-label": t(`editor.group.${group}`) }, names.map((name) => this.buttons[name]));
  }

  /** Where the tab key stops. @param {HTMLButtonElement} chosen */
  #stop(chosen) {
    for (const each of Object.values(this.buttons)) each.tabIndex = each === chosen ? 0 : -1;
  }

  #usable() {
    return Object.values(this.buttons).filter((each) => !each.closest("[hidden]"));
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const usable = this.#usable();
    const at = usable.findIndex((each) => each === document.activeElement);
    const to = { ArrowRight: at + 1, ArrowDown: at + 1, ArrowLeft: at - 1, ArrowUp: at - 1, Home: 0, End: usable.length - 1 }[event.key];
    if (to === undefined || at < 0) return;
    event.preventDefault();
    usable.at(to % usable.length)?.focus();
  }
}

/** @param {Name} name */
function titled(name) {
  const { keys } = /** @type {{keys?: string}} */ (BUTTONS[name]);
  return keys ? `${t(`editor.${name}`)} (${keys.replace("Control", t("editor.ctrl")).replace("Shift", t("editor.shift"))})` : t(`editor.${name}`);
}
