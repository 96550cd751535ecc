// Short messages at the edge of the page: what happened, what failed, and an undo button.

import { ApiError } from "./api.js";
import { button, h } from "./dom.js";
import { errorText, isServersText } from "./error_text.js";
import { t } from "./text.js";

const DURATION = 6000, ERROR_DURATION = 12000; // milliseconds a message stays visible

/** A message that is shown. @typedef {{setText: (text: string) => void, remove: () => void}} Toast  setText: shows another text, and for as long as a new message; remove: without calling onclose */

const MARGIN = 16; // CSS pixels to the window's edge, and to what must stay uncovered
const MAX_RAISED = 0.6; // of the window's height: higher up nothing is avoided

/** @type {HTMLElement | null} */
let container = null;
/** What messages do not cover, such as the film strip and Draw. @type {Set<HTMLElement>} */
const uncovered = new Set();
const placeSoon = () => requestAnimationFrame(placeMessages); // when the layout has followed a new size
const sizes = new ResizeObserver(placeSoon);
addEventListener("resize", placeSoon);

/** Messages are shown above an element, where they would cover it. @param {HTMLElement} element */
export function keepUncovered(element) {
  uncovered.add(element);
  sizes.observe(element); // also when it is shown or hidden
}

/** Move the messages up as far as needed. */
function placeMessages() {
  if (!container) return;
  const { left, right } = container.getBoundingClientRect();
  const tops = [...uncovered].filter((each) => each.checkVisibility({ visibilityProperty: true })).map((each) => each.getBoundingClientRect())
    .filter((box) => box.width && box.left < right && box.right > left && box.bottom <= innerHeight + 1 && innerHeight - box.top <= innerHeight * MAX_RAISED).map(({ top }) => top);
  container.style.bottom = `${Math.max(MARGIN, innerHeight - Math.min(...tops) + MARGIN / 2)}px`;
}

/**
 * Show a message.
 * @param {string} text
 * @param {{kind?: "note" | "error", hint?: string, action?: {label: string, run: () => void}, duration?: number, onclose?: () => void}} [options]
 *   onclose: called when the message disappears without a click on its action
 * @returns {Toast}
 */
export function toast(text, { kind = "note", hint = "", action, duration, onclose } = {}) {
  container ??= document.body.appendChild(h("div", { class: "sl-toasts", role: "region", "aria-label": t("toast.region") }));
  const close = (/** @type {boolean} */ actionTaken) => {
    clearTimeout(timer);
    note.remove();
    if (!actionTaken) onclose?.();
  };
  const words = h("p", {}, text);
  const note = h(
    "div",
    { class: `sl-toast sl-${kind}`, role: kind === "error" ? "alert" : "status" },
    h("div", { class: "sl-toast-text" }, words, hint && h("p", { class: "sl-hint" }, hint)),
    action && button({ label: action.label, kind: "quiet", onclick: () => (close(true), action.run()) }),
    button({ icon: "close", label: t("close"), iconOnly: true, onclick: () => close(false) }),
  );
  const startTimer = () => setTimeout(() => close(false), duration ?? (kind === "error" ? ERROR_DURATION : DURATION));
  let timer = startTimer();
  container.append(note);
  placeMessages();
  return {
    setText(text) {
      words.textContent = text;
      clearTimeout(timer);
      timer = startTimer();
    },
    remove: () => close(true),
  };
}

/** Show an error; an aborted request is not one. @param {unknown} error */
export function showError(error) {
  if (error instanceof DOMException && error.name === "AbortError") return;
  if (!(error instanceof ApiError)) {
    toast(t("error.page"), { kind: "error", hint: String(error) });
    throw error;
  }
  if (error.code === "page.offline") return toast(t("error.offline"), { kind: "error" });
  toast(errorText(error), { kind: "error", hint: isServersText(error) ? error.hint : "" });
}

/**
 * Wrap an event listener so that its errors are shown as messages.
 * @template {any[]} A
 * @param {(...args: A) => unknown} work
 * @returns {(...args: A) => Promise<void>}
 */
export const withErrorToast = (work) => async (...args) => {
  try {
    await work(...args);
  } catch (error) {
    showError(error);
  }
};
