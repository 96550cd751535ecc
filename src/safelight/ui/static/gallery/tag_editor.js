// Tags of one or several pictures as chips, with a field that adds others.

import { get } from "../core/api.js";
import { button, h, icon, setChildren } from "../core/dom.js";
import { t } from "../core/text.js";
import { showError } from "../core/toast.js";

const MAX_LENGTH = 64; // characters of a tag
let editors = 0;

export class TagEditor {
  /** @type {string[]} */
  #tags = [];

  /** @param {{onadd: (tags: string[]) => unknown, onremove: (tag: string) => unknown}} calls */
  constructor({ onadd, onremove }) {
    this.onadd = onadd;
    this.onremove = onremove;
    const listId = `sl-tags-${++editors}`;
    this.chips = h("ul", { class: "sl-tags-list" });
    this.suggestions = h("datalist", { id: listId });
    this.field = h("input", {
      type: "text", class: "sl-field", list: listId, maxlength: String(MAX_LENGTH), placeholder: t("tags.add"), "aria-label": t("tags.add"), autocomplete: "off", enterkeyhint: "done",
      onfocus: () => this.#suggest(),
      onkeydown: (/** @type {KeyboardEvent} */ event) => this.#onKeyDown(event),
    });
    this.element = h("div", { class: "sl-tags" }, this.chips,
      h("div", { class: "sl-tags-new" }, this.field, button({ icon: "plus", label: t("tags.add"), iconOnly: true, onclick: () => this.#add() })), this.suggestions);
  }

  /** Show tags. @param {string[]} tags @param {Record<string, string>} [notes]  notes on tags, such as how many of the pictures have them */
  show(tags, notes = {}) {
    this.#tags = tags;
    const focused = this.chips.contains(document.activeElement);
    setChildren(this.chips, tags.map((tag) => h("li", { class: "sl-tag" }, icon("tag"), h("span", {}, tag), notes[tag] && h("span", { class: "sl-hint" }, notes[tag]),
      button({ icon: "close", label: t("tags.remove", { tag }), iconOnly: true, onclick: () => this.onremove(tag) }))));
    if (focused) (this.chips.querySelector("button") ?? this.field).focus();
  }

  /** @param {KeyboardEvent} event */
  #onKeyDown(event) {
    if (event.key === "Escape" && !this.field.closest("dialog:modal")) {
      event.preventDefault(); // Escape closes the viewer only when no text is being written
      this.field.blur();
    }
    if (event.isComposing || (event.key !== "Enter" && event.key !== ",")) return;
    event.preventDefault();
    this.#add();
  }

  #add() {
    const tags = [...new Set(this.field.value.split(",").map((tag) => tag.trim()).filter(Boolean))].filter((tag) => !this.#tags.includes(tag));
    this.field.value = "";
    this.field.focus();
    if (tags.length) this.onadd(tags);
  }

  /** Suggest the gallery's tags, the most frequent first. */
  async #suggest() {
    try {
      const { tags } = await get("/v1/gallery/facets");
      setChildren(this.suggestions, Object.keys(tags).filter((tag) => !this.#tags.includes(tag)).map((tag) => h("option", { value: tag })));
    } catch (error) {
      showError(error);
    }
  }
}
