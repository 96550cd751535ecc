// The small button beside an action's that asks how.

import { button } from "../core/dom.js";
import { t } from "../core/text.js";
import { CHOICES } from "./list.js";

/** @param {import("./list.js").ChoiceName} name @param {(place: HTMLElement) => void} open */
export function chooserButton(name, open) {
  const chooser = button({ icon: "down", label: t(`${name}.choose`), iconOnly: true, class: "sl-button sl-bare sl-chooser", "aria-haspopup": "dialog", "aria-expanded": "false", "aria-keyshortcuts": CHOICES[name], onclick: () => open(chooser) });
  return chooser;
}
