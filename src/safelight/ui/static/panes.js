// The two panes of the Create tab: the form and the stage. In a narrow window one of them is shown at a time.

import { button, h } from "./core/dom.js";
import { t } from "./core/text.js";
import { keepUncovered } from "./core/toast.js";

/** @typedef {"form" | "stage"} Pane */

const NARROW = matchMedia("(max-width: 900px)");
const PANES = /** @type {const} */ (["form", "stage"]);

/** Show a pane in a narrow window; in a wide one both are visible. @param {Pane} name */
export function showPane(name) {
  const root = document.querySelector("#sl-create");
  root?.setAttribute("data-pane", name);
  for (const each of document.querySelectorAll(".sl-pane-switch [data-pane]")) each.setAttribute("aria-pressed", String(each.getAttribute("data-pane") === name));
  const { activeElement } = document;
  if (NARROW.matches && name === "stage" && activeElement instanceof HTMLTextAreaElement) activeElement.blur(); // the on-screen keyboard would cover the picture
}

/** The buttons that switch between the panes of a narrow window. */
const paneSwitch = () =>
  h("div", { class: "sl-pane-switch", role: "group", "aria-label": t("panes.title") },
    PANES.map((name) => button({ icon: name === "form" ? "edit" : "picture", label: t(`panes.${name}`), "data-pane": name, "aria-pressed": String(name === "form"), onclick: () => showPane(name) })));

/** Let the Create tab fill the window below the tabs; its panes scroll on their own. @param {HTMLElement} root */
export function fillWindow(root) {
  root.dataset.pane = "form";
  const measure = () => {
    if (root.checkVisibility()) root.style.setProperty("--sl-top", `${root.getBoundingClientRect().top + scrollY}px`);
  };
  new ResizeObserver(measure).observe(document.body);
  measure();
  const panes = paneSwitch();
  root.append(panes);
  keepUncovered(panes);
}
