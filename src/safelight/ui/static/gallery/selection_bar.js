// The bar that takes the place of the search while pictures are selected.

import { button, h } from "../core/dom.js";
import { t } from "../core/text.js";

/** What can be done with the selected pictures: name, icon, shortcut. */
export const BULK_ACTIONS = /** @type {const} */ ([
  ["favourite", "heart", "f"],
  ["tags", "tag", "t"],
  ["collect", "collection", "a"],
  ["uncollect", "minus", ""],
  ["reference", "eye", ""],
  ["download", "download", "d"],
  ["compare", "compare", "b"],
  ["remove", "trash", "Delete"],
]);

/** @typedef {typeof BULK_ACTIONS[number][0]} BulkAction */

export class SelectionBar {
  /** @param {{run: (action: BulkAction) => void, clear: () => void, selectAll: () => void}} calls */
  constructor({ run, clear, selectAll }) {
    this.count = h("p", { class: "sl-selection-count", role: "status" });
    this.buttons = Object.fromEntries(BULK_ACTIONS.map(([name, image, key]) => [name, button({
      icon: image, label: t(`selection.${name}`), title: key ? `${t(`selection.${name}`)} (${key === "Delete" ? t("key.Delete") : key.toUpperCase()})` : null, "data-action": name, onclick: () => run(name),
    })]));
    this.element = h("div", { class: "sl-selection-bar", role: "toolbar", "aria-label": t("selection.title"), hidden: true },
      button({ icon: "close", label: t("selection.clear"), iconOnly: true, onclick: clear }), this.count,
      button({ label: t("selection.all"), kind: "quiet", onclick: selectAll }),
      h("div", { class: "sl-selection-actions" }, Object.values(this.buttons)));
  }

  /** @param {{active: boolean, size: number}} selection @param {boolean} inCollection  whether the pictures of one collection are shown @param {boolean} takesReferences  whether the checkpoint looks at pictures */
  show({ active, size }, inCollection, takesReferences) {
    this.element.hidden = !active;
    if (!active) return;
    const text = size ? t("selection.count", { n: size }) : t("selection.none");
    if (this.count.textContent !== text) this.count.textContent = text;
    for (const [name, each] of Object.entries(this.buttons)) each.disabled = name === "compare" ? size !== 2 : !size;
    this.buttons.uncollect.hidden = !inCollection;
    this.buttons.reference.hidden = !takesReferences;
  }
}
