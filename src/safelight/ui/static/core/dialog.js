// A modal dialog over the page.

import { button, h } from "./dom.js";
import { t } from "./text.js";

/**
 * A dialog over the page, closed by Escape, its button or a press beside it.
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

/** Whether a press lies beside a dialog, on what is behind it. @param {HTMLElement} box @param {MouseEvent} event */
function isOutside(box, { clientX, clientY }) {
  const { left, right, top, bottom } = box.getBoundingClientRect();
  return clientX < left || clientX > right || clientY < top || clientY > bottom;
}
