// Collections: a menu that shows one of them, and makes, renames and deletes them; and the dialog that adds pictures to one.

import { get, post, request } from "../core/api.js";
import { dialog } from "../core/dialog.js";
import { button, h, setChildren } from "../core/dom.js";
import { openPopover } from "../core/popover.js";
import { formatNumber, t } from "../core/text.js";
import { toast, withErrorToast } from "../core/toast.js";

/** @typedef {import("../types").Collection} Collection */

const MAX_NAME = 100; // characters

export class Collections {
  /** @type {Collection[]} */
  list = [];
  #current = "";
  /** @type {ReturnType<typeof openPopover>} */
  #popover = null;

  /** @param {{owner: string, onselect: (id: string) => void}} options  owner: whose collections need no owner's name; onselect: an empty id stands for all pictures */
  constructor({ owner, onselect }) {
    this.owner = owner;
    this.onselect = onselect;
    this.rows = h("ul", { class: "sl-collections" });
    this.button = button({ icon: "collection", label: t("collections.all"), class: "sl-button sl-collections-button", "aria-haspopup": "dialog", "aria-expanded": "false", onclick: () => this.#open() });
  }

  #open() {
    this.#popover = openPopover(this.button, t("collections.title"), [this.rows, this.#newField((made) => this.#select(made.id))]);
    void this.refresh();
  }

  /** Load the list. */
  refresh = withErrorToast(async () => {
    this.list = (await get("/v1/collections")).collections;
    this.show(this.#current);
  });

  /** @param {string} id */
  nameOf(id) {
    const collection = this.list.find((each) => each.id === id);
    return collection ? this.#title(collection) : t("collections.unknown");
  }

  /** Show which collection is selected. @param {string} id  empty: all pictures */
  show(id) {
    this.#current = id;
    const name = id ? this.nameOf(id) : t("collections.all");
    /** @type {Element} */ (this.button.lastElementChild).textContent = name;
    this.button.setAttribute("aria-pressed", String(!!id));
    const item = (/** @type {string} */ value, /** @type {string} */ title, /** @type {string} */ count) => h("button", {
      type: "button", class: "sl-button sl-quiet sl-collection", "aria-current": value === id ? "true" : null, onclick: () => this.#select(value),
    }, h("span", {}, title), h("span", { class: "sl-hint" }, count));
    const focused = this.rows.contains(document.activeElement);
    setChildren(this.rows, h("li", {}, item("", t("collections.all"), "")), this.list.map((each) => h("li", {}, item(each.id, this.#title(each), formatNumber(each.pictures)),
      button({ icon: "edit", label: t("collections.rename.one", { name: each.name }), iconOnly: true, onclick: () => this.#rename(each) }),
      button({ icon: "trash", label: t("collections.delete.one", { name: each.name }), iconOnly: true, onclick: () => this.#delete(each) }))));
    if (focused) /** @type {HTMLElement | null} */ (this.rows.querySelector("[aria-current]"))?.focus();
  }

  /**
   * Ask for a collection to add pictures to.
   * @param {number} amount
   * @param {(collection: Collection) => unknown} add
   */
  async choose(amount, add) {
    await this.refresh();
    const pick = withErrorToast(async (/** @type {Collection} */ collection) => {
      box.close();
      await add(collection);
      await this.refresh();
    });
    const own = this.list.filter(({ owner }) => owner === this.owner);
    const box = dialog(t("collections.add", { n: amount }), h("div", { class: "sl-gallery-dialog" },
      h("ul", { class: "sl-collections" }, own.map((each) => h("li", {}, button({ icon: "collection", label: each.name, class: "sl-button sl-quiet sl-collection", onclick: () => pick(each) })))),
      this.#newField(pick)));
  }

  /** @param {Collection} collection */
  #title({ name, owner }) {
    return owner === this.owner ? name : `${name} (${owner})`;
  }

  /** @param {string} id */
  #select(id) {
    this.#popover?.close();
    this.show(id);
    this.onselect(id);
  }

  /** A field that makes a collection. @param {(made: Collection) => unknown} then */
  #newField(then) {
    const make = withErrorToast(async () => {
      const name = field.value.trim();
      if (!name) return field.focus();
      const made = await post("/v1/collections", { name });
      field.value = "";
      await this.refresh();
      await then(made);
    });
    const field = nameField(t("collections.new"), make);
    return h("div", { class: "sl-tags-new" }, field, button({ icon: "plus", label: t("collections.make"), iconOnly: true, onclick: make }));
  }

  /** @param {Collection} collection */
  #rename({ id, name }) {
    const rename = withErrorToast(async () => {
      if (field.value.trim()) await request("PATCH", `/v1/collections/${id}`, { json: { name: field.value.trim() } });
      box.close();
      await this.refresh();
    });
    const field = nameField(t("collections.name"), rename);
    field.value = name;
    const box = dialog(t("collections.rename"), h("div", { class: "sl-gallery-dialog" }, field),
      h("div", { class: "sl-bar" }, h("span"), button({ label: t("collections.rename"), kind: "primary", onclick: rename })));
    field.select();
  }

  /** @param {Collection} collection */
  #delete({ id, name }) {
    const remove = withErrorToast(async () => {
      box.close();
      await request("DELETE", `/v1/collections/${id}`);
      await this.refresh();
      toast(t("collections.deleted", { name }));
      if (this.#current === id) this.#select("");
    });
    const box = dialog(t("collections.delete"), h("p", {}, t("collections.delete.keeps", { name })),
      h("div", { class: "sl-bar" }, h("span"), button({ icon: "trash", label: t("collections.delete"), kind: "primary", onclick: remove })));
  }
}

/** @param {string} label @param {() => unknown} onenter */
function nameField(label, onenter) {
  const field = h("input", {
    type: "text", class: "sl-field", maxlength: String(MAX_NAME), placeholder: label, "aria-label": label, autocomplete: "off", enterkeyhint: "done",
    onkeydown: (/** @type {KeyboardEvent} */ event) => {
      if (event.key !== "Enter" || event.isComposing) return;
      event.preventDefault();
      void onenter();
    },
  });
  return field;
}
