// The editor's keys: tools and steps anywhere in it; on the stage, a cursor that paints.

/**
 * What keys do.
 * @typedef {object} Keyed
 * @property {(tool: "brush" | "eraser") => void} choose
 * @property {(how: "undo" | "redo") => void} edit
 * @property {(way: 1 | -1) => void} grow  the brush
 * @property {(x: number, y: number) => unknown} go  the cursor, so many pixels of the screen
 * @property {() => void} dab  paint where the cursor is
 * @property {() => void} leave  the stage
 */

const STEP = 8, FASTER = 5; // pixels of the screen; times
const WAYS = /** @type {Record<string, [number, number]>} */ ({ ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] });

export class Keys {
  #ended = new AbortController();

  /** @param {HTMLElement} root @param {HTMLElement} stage @param {import("./gestures.js").Gestures} gestures @param {Keyed} keyed */
  constructor(root, stage, gestures, keyed) {
    this.gestures = gestures;
    this.keyed = keyed;
    root.addEventListener("keydown", (event) => this.#anywhere(event), { signal: this.#ended.signal });
    stage.addEventListener("keydown", (event) => this.#onStage(event));
    stage.addEventListener("keyup", (event) => event.key === " " && gestures.space(false) && keyed.dab());
    stage.addEventListener("blur", () => {
      gestures.space(false);
      keyed.leave();
    });
  }

  destroy() {
    this.#ended.abort();
  }

  /** @param {KeyboardEvent} event */
  #anywhere(event) {
    if (event.defaultPrevented || event.isComposing) return;
    const { key } = event;
    const control = event.ctrlKey || event.metaKey;
    const graph = event.getModifierState("AltGraph"); // brackets lie behind it on many keyboards
    if (key === "[" || key === "]") {
      if (control && !graph && !event.altKey) return;
      this.keyed.grow(key === "]" ? 1 : -1);
    } else if (control && !event.altKey && key.toLowerCase() === "z") this.keyed.edit(event.shiftKey ? "redo" : "undo");
    else if (control && !event.altKey && key.toLowerCase() === "y") this.keyed.edit("redo");
    else if (!control && !event.altKey && key.toLowerCase() === "b") this.keyed.choose("brush");
    else if (!control && !event.altKey && key.toLowerCase() === "e") this.keyed.choose("eraser");
    else return;
    event.preventDefault();
  }

  /** @param {KeyboardEvent} event */
  #onStage(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const way = WAYS[event.key];
    const step = event.shiftKey ? STEP * FASTER : STEP;
    if (way) this.keyed.go(way[0] * step, way[1] * step);
    else if (event.key === " ") this.gestures.space(true);
    else if (event.key === "Enter") this.keyed.dab();
    else return;
    event.preventDefault();
  }
}
