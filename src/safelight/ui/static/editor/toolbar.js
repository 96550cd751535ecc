// The editor's toolbar: one tab stop, arrow keys inside; unavailable commands stay in place as disabled.

import { button, h } from "../core/dom.js";
import { t } from "../core/text.js";

/** @typedef {"brush" | "lasso" | "fill" | "segment" | "expand"} Tool */
/** @typedef {Tool | "eraser"} ToolCommand  the eraser is a mode: brush, lasso, fill and segment then subtract */
/** @typedef {keyof typeof BUTTONS} CommandName */
/** @typedef {{tool: Tool, erasing: boolean, painted: boolean, expanded: boolean, hidden: boolean, canUndo: boolean, canRedo: boolean}} State */

/** For each button its icon, its group, whether a wide toolbar shows its label, and its shortcut. */
const BUTTONS = /** @type {const} */ ({
  brush: { icon: "brush", group: "tools", keys: "B" },
  eraser: { icon: "eraser", group: "tools", keys: "E" },
  lasso: { icon: "lasso", group: "tools", keys: "L" },
  fill: { icon: "fill", group: "tools", keys: "G" },
  segment: { icon: "wand", group: "tools", keys: "W" },
  expand: { icon: "expand", group: "tools", worded: true },
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
const NAMES = /** @type {CommandName[]} */ (Object.keys(BUTTONS));
const GROUPS = [...new Set(NAMES.map((name) => BUTTONS[name].group))];

export class Toolbar {
  /** @param {(name: CommandName) => void} oncommand  called when an enabled button is clicked @param {boolean} [maskOnly]  without what changes the picture */
  constructor(oncommand, maskOnly = false) {
    this.oncommand = oncommand;
    this.buttons = /** @type {Record<CommandName, HTMLButtonElement>} */ (Object.fromEntries(NAMES.map((name) => [name, this.#make(name)])));
    this.groups = new Map(GROUPS.map((group) => [group, this.#group(group)]));
    this.element = h(
      "div",
      { class: "sl-editor-toolbar", role: "toolbar", "aria-label": t("editor.tools"), onkeydown: (/** @type {KeyboardEvent} */ event) => this.#onKeyDown(event) },
      [...this.groups.values()],
    );
    this.buttons.expand.hidden = maskOnly;
    this.buttons.segment.hidden = true; // until there is a model for it
    /** @type {HTMLElement} */ (this.groups.get("picture")).hidden = maskOnly;
    this.#setTabStop(this.buttons.brush);
  }

  /** @param {State} state */
  update({ tool, erasing, painted, expanded, hidden, canUndo, canRedo }) {
    const painting = tool !== "expand";
    this.groups.get("history")?.toggleAttribute("hidden", !painting);
    this.groups.get("mask")?.toggleAttribute("hidden", !painting);
    this.groups.get("expand")?.toggleAttribute("hidden", painting);
    for (const name of /** @type {const} */ (["brush", "lasso", "fill", "segment", "expand"])) this.buttons[name].ariaPressed = String(tool === name);
    this.buttons.eraser.ariaPressed = String(erasing && painting);
    this.buttons.hide.ariaPressed = String(hidden);
    for (const name of /** @type {const} */ (["brush", "eraser", "lasso", "fill", "segment"])) this.#setEnabled(name, !expanded, "editor.brush.not");
    this.#setEnabled("expand", !painted, "editor.expand.not");
    this.#setEnabled("undo", canUndo);
    this.#setEnabled("redo", canRedo);
    this.#setEnabled("clear", painted);
    this.#setEnabled("reset", expanded);
    if (!this.#usable().some((each) => each.tabIndex === 0)) this.#setTabStop(this.buttons.brush);
  }

  /** @param {CommandName} name @param {boolean} enabled @param {string} [reasonKey]  key of the text that explains why it is disabled */
  #setEnabled(name, enabled, reasonKey) {
    const each = this.buttons[name];
    each.ariaDisabled = enabled ? null : "true";
    each.title = enabled || !reasonKey ? tooltip(name) : t(reasonKey);
  }

  /** @param {CommandName} name */
  #make(name) {
    const { icon, ...more } = BUTTONS[name];
    return button({
      icon, label: t(`editor.${name}`), title: tooltip(name), tabindex: -1, "data-name": name,
      iconOnly: !("worded" in more),
      "aria-keyshortcuts": "keys" in more ? more.keys : null,
      onclick: () => this.buttons[name].ariaDisabled !== "true" && this.oncommand(name),
      onfocus: () => this.#setTabStop(this.buttons[name]),
    });
  }

  /** @param {string} group */
  #group(group) {
    const names = NAMES.filter((name) => BUTTONS[name].group === group);
    return h("div", { class: `sl-editor-group sl-${group}`, role: "group", "aria-label": t(`editor.group.${group}`) }, names.map((name) => this.buttons[name]));
  }

  /** Make one button the tab stop. @param {HTMLButtonElement} chosen */
  #setTabStop(chosen) {
    for (const each of Object.values(this.buttons)) each.tabIndex = each === chosen ? 0 : -1;
  }

  #usable() {
    return Object.values(this.buttons).filter((each) => !each.closest("[hidden]"));
  }

  /** @param {KeyboardEvent} event */
  #onKeyDown(event) {
    const usable = this.#usable();
    const at = usable.findIndex((each) => each === document.activeElement);
    const to = { ArrowRight: at + 1, ArrowDown: at + 1, ArrowLeft: at - 1, ArrowUp: at - 1, Home: 0, End: usable.length - 1 }[event.key];
    if (to === undefined || at < 0) return;
    event.preventDefault();
    usable.at(to % usable.length)?.focus();
  }
}

/** @param {CommandName} name */
function tooltip(name) {
  const { keys } = /** @type {{keys?: string}} */ (BUTTONS[name]);
  return keys ? `${t(`editor.${name}`)} (${keys.replace("Control", t("editor.ctrl")).replace("Shift", t("editor.shift"))})` : t(`editor.${name}`);
}
