// The Control section of the form: units that are added and removed, each with a picture that steers the generation.

import { Catalogue } from "./control/catalogue.js";
import { firstImage } from "./control/picture_box.js";
import { UnitView } from "./control/unit_view.js";
import { MAX_UNITS, unitField } from "./control/units.js";
import { button, h } from "./core/dom.js";
import { t } from "./core/text.js";
import { showError } from "./core/toast.js";
import { whileVisible } from "./core/while_visible.js";

/** @typedef {import("./form.js").Form} Form */

const CATALOGUE_INTERVAL = 30; // seconds between two looks for new networks

export class ControlPanel {
  /** By the unit's id. @type {Map<number, UnitView>} */
  #views = new Map();

  /**
   * @param {HTMLElement} root  where the units are shown
   * @param {Form} form
   * @param {import("./core/job_store.js").JobStore} jobStore
   */
  constructor(root, form, jobStore) {
    this.form = form;
    this.jobStore = jobStore;
    this.catalogue = new Catalogue();
    this.units = h("div", { class: "sl-units" });
    this.note = h("p", { class: "sl-hint" }, t("control.says"));
    this.add = button({ icon: "plus", label: t("control.add"), id: "sl-control-add", onclick: () => this.#add() });
    root.append(this.note, this.units, this.add);
    /** @type {Promise<void> | null} */
    let first = (this.loaded = this.#load());
    form.subscribe(() => this.#update());
    whileVisible(this.add, () => {
      const load = first ?? this.#load();
      first = null;
      return load;
    }, () => CATALOGUE_INTERVAL);
    // A picture that is pasted goes to the unit with the focus or below the pointer, before the editor takes it.
    document.addEventListener("paste", (event) => {
      const file = firstImage(event.clipboardData);
      const view = [...this.#views.values()].find(({ element }) => element.contains(document.activeElement)) ?? [...this.#views.values()].find(({ element }) => element.matches(":hover"));
      if (!file || !view || event.clipboardData?.types.includes("text/plain")) return;
      event.preventDefault();
      event.stopPropagation();
      void view.picture.take(file);
    }, true);
    this.#update();
  }

  /** Focus what was refused. */
  showRefused() {
    const [first] = this.#refusals().keys();
    const unit = this.form.units.list[first ?? -1];
    if (unit) this.#views.get(unit.id)?.showRefused();
  }

  async #load() {
    try {
      await this.catalogue.load();
      this.#update();
    } catch (error) {
      if (!this.catalogue.kinds.length) showError(error); // later the next time will do
    }
  }

  async #add() {
    await this.loaded;
    const id = this.form.units.add(this.catalogue.firstUnit());
    const view = this.#views.get(id);
    view?.element.scrollIntoView({ block: "nearest" });
    view?.picture.focus();
  }

  /** @param {number} id */
  #remove(id) {
    this.form.units.remove(id);
    this.add.focus();
  }

  /** What was refused, by the unit's index and then by field. */
  #refusals() {
    /** @type {Map<number, Map<string, import("./control/unit_view.js").Refusal>>} */
    const found = new Map();
    for (const [field, refusal] of this.form.refusals) {
      const about = unitField(field);
      if (about) found.set(about.index, (found.get(about.index) ?? new Map()).set(about.name, refusal));
    }
    return found;
  }

  #update() {
    const { form, catalogue } = this;
    const { list } = form.units;
    catalogue.family = form.checkpoint?.family ?? null;
    catalogue.checkpoint = form.checkpoint?.id ?? null;
    for (const [id, view] of this.#views) {
      if (list.some((unit) => unit.id === id)) continue;
      view.close();
      view.element.remove();
      this.#views.delete(id);
    }
    const refusals = this.#refusals();
    const target = { initial: initialPicture(form), size: { width: Number(form.values.width), height: Number(form.values.height) } };
    list.forEach((unit, index) => {
      let view = this.#views.get(unit.id);
      if (!view) {
        view = new UnitView(unit.id, { catalogue, jobStore: this.jobStore, onchange: (changes) => form.units.change(unit.id, changes), onremove: () => this.#remove(unit.id) });
        this.#views.set(unit.id, view);
      }
      if (this.units.children[index] !== view.element) this.units.insertBefore(view.element, this.units.children[index] ?? null);
      view.update(unit, { index, target, refusals: refusals.get(index) ?? new Map() });
    });
    this.note.hidden = list.length > 0;
    this.add.disabled = list.length >= MAX_UNITS;
  }
}

/** The picture that the form's request starts from. @param {Form} form @returns {import("./control/units.js").UnitPicture | null} */
function initialPicture({ editor }) {
  return editor?.picture && editor.size ? { blob: editor.picture, entry: null, width: editor.size.width, height: editor.size.height } : null;
}
