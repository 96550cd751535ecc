// The editor's keyboard: shortcuts for tools, undo and redo while it is visible and nothing is typed elsewhere; on the stage, a cursor that paints.

import { isTyping } from "../core/shortcuts.js";
import { noDialogOpen } from "../viewer/overlay.js";

/**
 * Callbacks for keys.
 * @typedef {object} KeyboardHandlers
 * @property {(tool: import("./toolbar.js").ToolCommand) => void} selectTool
 * @property {(how: "undo" | "redo") => void} editMask
 * @property {(way: 1 | -1) => void} resizeBrush
 * @property {(x: number, y: number) => unknown} moveCursor  by so many CSS pixels
 * @property {() => void} paintAtCursor
 * @property {() => boolean} cancel  discard the unfinished area; returns whether there was one
 * @property {() => void} leave  the stage has lost the focus
 */

/** Keys of the tools. @type {Record<string, import("./toolbar.js").ToolCommand>} */
export const TOOL_KEYS = { b: "brush", e: "eraser", l: "lasso", g: "fill", w: "segment" };
const STEP = 8, SHIFT_FACTOR = 5; // CSS pixels per key press; factor with Shift
const DIRECTIONS = /** @type {Record<string, [number, number]>} */ ({ ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] });

export class KeyboardControls {
  #controller = new AbortController();

  /** @param {HTMLElement} root @param {HTMLElement} stage @param {import("./gestures.js").Gestures} gestures @param {KeyboardHandlers} handlers */
  constructor(root, stage, gestures, handlers) {
    this.root = root;
    this.gestures = gestures;
    this.handlers = handlers;
    document.addEventListener("keydown", (event) => this.#onKeyDown(event), { signal: this.#controller.signal });
    stage.addEventListener("keydown", (event) => this.#onStageKeyDown(event));
    stage.addEventListener("keyup", (event) => event.key === " " && gestures.setSpace(false) && handlers.paintAtCursor());
    stage.addEventListener("blur", () => {
      gestures.setSpace(false);
      handlers.leave();
    });
  }

  destroy() {
    this.#controller.abort();
  }

  /** @param {KeyboardEvent} event */
  #onKeyDown(event) {
    if (event.defaultPrevented || event.isComposing || isTyping(event) || !this.root.checkVisibility() || !(noDialogOpen() || this.root.closest("dialog"))) return;
    const { key } = event;
    const control = event.ctrlKey || event.metaKey;
    const altGraph = event.getModifierState("AltGraph"); // many keyboards need AltGr for brackets
    if (key === "[" || key === "]") {
      if (control && !altGraph && !event.altKey) return;
      this.handlers.resizeBrush(key === "]" ? 1 : -1);
    } else if (control && !event.altKey && key.toLowerCase() === "z") this.handlers.editMask(event.shiftKey ? "redo" : "undo");
    else if (control && !event.altKey && key.toLowerCase() === "y") this.handlers.editMask("redo");
    else if (!control && !event.altKey && key.toLowerCase() in TOOL_KEYS) this.handlers.selectTool(TOOL_KEYS[key.toLowerCase()]);
    else if (key !== "Escape" || !this.handlers.cancel()) return;
    event.preventDefault();
  }

  /** @param {KeyboardEvent} event */
  #onStageKeyDown(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const direction = DIRECTIONS[event.key];
    const distance = event.shiftKey ? STEP * SHIFT_FACTOR : STEP;
    if (direction) this.handlers.moveCursor(direction[0] * distance, direction[1] * distance);
    else if (event.key === " ") this.gestures.setSpace(true);
    else if (event.key === "Enter") this.handlers.paintAtCursor();
    else return;
    event.preventDefault();
  }
}
