// Short notes at the page's edge: what happened, what failed, and a way back.

import { ApiError } from "./api.js";
import { button, h } from "./dom.js";
import { t } from "./text.js";

const STAYS = 6000, ERROR_STAYS = 12000; // milliseconds

/** @type {HTMLElement | null} */
let shelf = null;

/**
 * Show a note.
 * @param {string} text
 * @param {{kind?: "note" | "error", hint?: string, action?: {label: string, run: () => void}, stays?: number, gone?: () => void}} [options]
 *   gone is called when the note goes without its action having been taken
 */
export function toast(text, { kind = "note", hint = "", action, stays, gone } = {}) {
  shelf ??= document.body.appendChild(h("div", { class: "sl-toasts", role: "region", "aria-label": t("toast.region") }));
  const end = (/** @type {boolean} */ acted) => {
    clearTimeout(timer);
    note.remove();
    if (!acted) gone?.();
  };
  const note = h(
    "div",
    { class: `sl-toast sl-${kind}`, role: kind === "error" ? "alert" : "status" },
    h("div", { class: "sl-toast-text" }, h("p", {}, text), hint && h("p", { class: "sl-hint" }, hint)),
    action && button({ label: action.label, kind: "quiet", onclick: () => (end(true), action.run()) }),
    button({ icon: "close", label: t("close"), bare: true, onclick: () => end(false) }),
  );
  const timer = setTimeout(() => end(false), stays ?? (kind === "error" ? ERROR_STAYS : STAYS));
  shelf.append(note);
}

/** Show what went wrong; something that was stopped on purpose is no error. @param {unknown} error */
export function complain(error) {
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
export const watched = (work) => async (...args) => {
  try {
    await work(...args);
  } catch (error) {
    complain(error);
  }
};
