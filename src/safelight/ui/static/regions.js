// The Regions section of the form: parts of the picture with prompts of their own, over the picture's frame and over the pictures on the stage.

import { button, h } from "./core/dom.js";
import { t } from "./core/text.js";
import { toast, withErrorToast } from "./core/toast.js";
import { listField } from "./form/list_field.js";
import { RegionFrame } from "./regions/frame.js";
import { MAX_REGIONS } from "./regions/list.js";
import { maskOf } from "./regions/mask.js";
import { drawRegions } from "./regions/overlay.js";
import { RegionRow } from "./regions/row.js";

/** @typedef {import("./form.js").Form} Form */
/** @typedef {import("./regions/list.js").Region} Region */

const WHOLE_MIDDLE = { left: 0.25, top: 0.25, right: 0.75, bottom: 0.75 };
const STAGE = "#sl-stage";

export class RegionsPanel {
  /** By the region's id. @type {Map<number, RegionRow>} */
  #rows = new Map();
  /** What was drawn last, and its URL. @type {{list: readonly Region[], ratio: number, url: string}} */
  #drawing = { list: [], ratio: 0, url: "" };

  /** @param {HTMLElement} root  where the regions are shown @param {Form} form */
  constructor(root, form) {
    this.form = form;
    this.note = h("p", { class: "sl-hint" }, t("regions.says"));
    this.frame = new RegionFrame({ onchange: (id, box) => form.regions.change(id, { box }), onselect: (id) => this.#rows.get(id)?.element.scrollIntoView({ block: "nearest" }) });
    this.rows = h("div", { class: "sl-units" });
    this.add = button({ icon: "plus", label: t("regions.add"), id: "sl-regions-add", onclick: () => this.#add() });
    this.onStage = button({ icon: "eye", label: t("regions.on_stage"), "aria-pressed": "false", onclick: () => this.#toggleOnStage() });
    root.append(this.note, this.frame.element, this.rows, h("div", { class: "sl-bar" }, this.add, this.onStage));
    form.subscribe(() => this.#update());
    this.#update();
  }

  /** Focus what was refused. */
  showRefused() {
    const [about] = [...this.form.refusals.keys()].flatMap((field) => listField(field) ?? []).filter(({ list }) => list === "regions");
    const row = this.#rows.get(this.form.regions.list[about?.index ?? -1]?.id ?? -1);
    row?.element.scrollIntoView({ block: "center" });
    (row?.element.querySelector(/** @type {"textarea"} */ ("[aria-invalid]")) ?? row?.prompt)?.focus();
  }

  #add() {
    this.#rows.get(this.form.regions.add())?.prompt.focus();
  }

  /** @param {number} id */
  #remove(id) {
    const { regions } = this.form;
    const before = regions.list;
    regions.remove(id);
    this.add.focus();
    toast(t("regions.removed"), { action: { label: t("undo"), run: () => regions.set(before) } });
  }

  #paint = withErrorToast(async (/** @type {number} */ id) => {
    const { form } = this;
    const region = form.regions.list.find((each) => each.id === id);
    if (!region) return;
    const { blankPicture, paintMask } = await import("./editor/mask_dialog.js");
    const picture = form.editor?.picture ?? (await blankPicture(this.#size));
    const size = (form.editor?.picture && form.editor.size) || this.#size;
    const mask = await paintMask({ title: t("regions.paint"), note: t("regions.paint.says"), picture, mask: region.mask ?? (region.box && (await maskOf(region.box, size))) });
    if (mask) form.regions.change(id, { mask });
    this.#rows.get(id)?.paint.focus();
  });

  /** The size that is generated. */
  get #size() {
    const { width, height } = this.form.values;
    return { width: Number(width), height: Number(height) };
  }

  #toggleOnStage() {
    const shown = this.onStage.ariaPressed !== "true";
    this.onStage.ariaPressed = String(shown);
    document.querySelector(STAGE)?.classList.toggle("sl-shows-regions", shown);
  }

  #update() {
    const { form } = this;
    const { list } = form.regions;
    for (const [id, row] of this.#rows) {
      if (list.some((region) => region.id === id)) continue;
      row.close();
      this.#rows.delete(id);
    }
    const about = [...form.refusals].map(([field, refusal]) => ({ field: listField(field), refusal })).filter(({ field }) => field?.list === "regions");
    list.forEach((region, index) => {
      let row = this.#rows.get(region.id);
      if (!row) {
        const { id } = region;
        row = new RegionRow(id, {
          onchange: (changes) => form.regions.change(id, changes),
          onpaint: () => void this.#paint(id),
          onrectangle: () => form.regions.change(id, { mask: null, box: form.regions.list.find((each) => each.id === id)?.box ?? WHOLE_MIDDLE }),
          onremove: () => this.#remove(id),
        });
        this.#rows.set(id, row);
      }
      if (this.rows.children[index] !== row.element) this.rows.insertBefore(row.element, this.rows.children[index] ?? null);
      row.update(region, index, new Map(about.filter(({ field }) => field?.index === index).map(({ field, refusal }) => [field?.name ?? "", refusal])));
    });
    this.note.hidden = list.length > 0;
    this.add.disabled = list.length >= MAX_REGIONS;
    this.frame.element.hidden = this.onStage.hidden = !list.length;
    this.frame.show(list, this.#size, this.#drawing.url);
    void this.#draw();
  }

  /** Draw the regions in their colours, if they have changed. */
  async #draw() {
    const { list } = this.form.regions;
    const size = this.#size, ratio = size.width / size.height;
    if (list === this.#drawing.list && ratio === this.#drawing.ratio) return;
    const before = this.#drawing.url;
    this.#drawing = { list, ratio, url: before };
    const drawing = await drawRegions(list, size);
    if (this.#drawing.list !== list || this.#drawing.ratio !== ratio) return; // it has been drawn anew
    const url = (this.#drawing.url = drawing ? URL.createObjectURL(drawing) : "");
    this.frame.show(list, size, url);
    /** @type {HTMLElement | null} */ (document.querySelector(STAGE))?.style.setProperty("--sl-regions", url ? `url("${url}")` : "none");
    URL.revokeObjectURL(before);
  }
}
