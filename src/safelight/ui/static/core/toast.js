// Short notes at the page's edge: what happened, what failed, and a way back.

import { ApiError } from "./api.js";
import { button, h } from "./dom.js";
import { t } from "./text.js";

const DURATION = 6000, ERROR_DURATION = 12000; // milliseconds

/** @type {HTMLElement | null} */
let container = null;

/**
 * Show a note.
 * @param {string} text
 * @param {{kind?: "note" | "error", hint?: string, action?: {label: string, run: () => void}, duration?: number, onclose?: () => void}} [options]
 *   onclose is called when the note goes without its action having been taken
 */
export function toast(text, { kind = "note", hint = "", action, duration, onclose } = {}) {
  container ??= document.body.appendChild(h("div", { class: "sl-toasts", role: "region", "aria-label": t("toast.region") }));
  const close = (/** @type {boolean} */ actionTaken) => {
    clearTimeout(timer);
    note.remove();
    if (!actionTaken) onclose?.();
  };
  const note = h(
    "div",
    { class: `sl-toast sl-${kind}`, role: kind === "error" ? "alert" : "status" },
    h("div", { class: "sl-toast-text" }, h("p", {}, text), hint && h("p", { class: "sl-hint" }, hint)),
    action && button({ label: action.label, kind: "quiet", onclick: () => (close(true), action.run()) }),
    button({ icon: "close", label: t("close"), iconOnly: true, onclick: () => close(false) }),
  );
  const timer = setTimeout(() => close(false), duration ?? (kind === "error" ? ERROR_DURATION : DURATION));
  container.append(note);
}

/** Show what went wrong; something that was stopped on purpose is no error. @param {unknown} error */
export function showError(error) {
  if (error instanceof DOMException && error.name === "AbortError") return;
  if (!(error instanceof ApiError)) {
    toast(t("error.page"), { kind: "error", hint: String(error) });
    throw error;
  }
  toast(error.code === "page.offline" ? t("error.offline") : error.message, { kind: "error", hint: error.hint });
}

/**
 * A listener that shows its failures.
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
