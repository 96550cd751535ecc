// A modal dialog over the page.

import { button, h } from "./dom.js";
import { t } from "./text.js";

/**
 * Show a dialog; Escape, its close button or a click outside closes it.
 * @param {string} title
 * @param {...(Node | string)} content
 * @returns {HTMLDialogElement}
 */
export function dialog(title, ...content) {
  const box = h(
    "dialog",
    { class: "sl-dialog", "aria-label": title, onclose: () => box.remove() },
    h("header", {}, h("h2", {}, title), button({ icon: "close", label: t("close"), iconOnly: true, onclick: () => box.close() })),
    ...content,
  );
  let pressedOutside = false;
  box.addEventListener("pointerdown", (event) => (pressedOutside = isOutside(box, event)));
  box.addEventListener("click", (event) => pressedOutside && isOutside(box, event) && box.close());
  document.body.append(box);
  box.showModal();
  return box;
}

/** Whether a click is outside a dialog's box. @param {HTMLElement} box @param {MouseEvent} event */
function isOutside(box, { clientX, clientY }) {
  const { left, right, top, bottom } = box.getBoundingClientRect();
  return clientX < left || clientX > right || clientY < top || clientY > bottom;
}
