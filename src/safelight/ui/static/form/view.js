// The form on the page: a field for each control in its place, which shows the form's values and reports what the user makes of them.

import { CONTROLS, CONTROLS_BY_NAME } from "../controls.js";
import { h, setChildren } from "../core/dom.js";
import { errorWithHint } from "../core/error_text.js";
import { t } from "../core/text.js";
import { showError } from "../core/toast.js";
import { makeField } from "./fields.js";
import { Fold } from "./fold.js";
import { listField } from "./list_field.js";
import { PromptField } from "./prompt_field.js";
import { SeedField } from "./seed_field.js";
import { editedSizeNote, SizeField } from "./size_field.js";

/** @typedef {import("./fields.js").Field} Field */
/** @typedef {import("../form.js").Form} Form */
/** @typedef {{showRefused: () => void}} ListPanel  showRefused: focus what was refused */

/** The folds with the fields that come first in each; a group's other fields follow in the request's order. @type {Record<import("../form.js").Accordion, string[]>} */
const FOLDS = { edit: ["strength"], control: [], regions: [], hires: ["hires.on"], fine: ["schedule", "clip_skip"] };
/** What people may search for, beside a fold's title. @type {Record<string, string[]>} */
const FOLD_ALIASES = { edit: ["inpainting", "outpainting", "image to image"], control: ["ControlNet", "T2I-Adapter", "reference only", "openpose", "IP-Adapter"], regions: ["regional prompter", "attention couple", "AND", "forge couple"], hires: ["highres fix", "upscale"] };
const REFERENCE_ALIASES = ["image prompt", "Kontext", "Qwen Edit", "several pictures"];
/** The fields that are always visible, by row; other fields of their group follow. */
const BASIC_ROWS = [["checkpoint"], ["sampler"], ["size"], ["steps"], ["guidance_scale"], ["seed", "count"]];
/** Fields that have a place of their own. */
const PLACED = new Set(["prompt", "negative_prompt", "width", "height", ...BASIC_ROWS.flat()]);

export class FormView {
  /** In the order of the page. @type {Map<string, Field>} */
  #fields = new Map();
  /** @type {Map<string, Fold>} */
  folds = new Map();
  /** Where the units of control[] are shown. */
  controlRoot = h("div", { id: "sl-control" });
  /** Where the pictures are shown that the model looks at, and the regions. */
  referencesRoot = h("div", { id: "sl-references-row", hidden: true });
  regionsRoot = h("div", { id: "sl-regions" });
  /** What shows the request's lists, as far as it is loaded. @type {Map<import("./list_field.js").ListName, Promise<ListPanel>>} */
  #panels = new Map();
  /** The prompt that had the focus last. @type {"prompt" | "negative_prompt"} */
  lastPrompt = "prompt";

  /**
   * @param {HTMLElement} root  an empty element
   * @param {Form} form
   */
  constructor(root, form) {
    this.form = form;
    const prompt = (/** @type {"prompt" | "negative_prompt"} */ name, /** @type {number} */ rows) =>
      new PromptField(CONTROLS_BY_NAME[name], { onchange: (value) => form.setByUser(name, value), rows, placeholder: name === "prompt" ? t("create.prompt.example") : undefined });
    this.prompts = { prompt: prompt("prompt", 3), negative_prompt: prompt("negative_prompt", 1) };
    this.size = new SizeField({ width: CONTROLS_BY_NAME.width, height: CONTROLS_BY_NAME.height }, (values) => Object.entries(values).forEach(([name, value]) => form.setByUser(name, value)));
    this.chips = h("div", { id: "sl-chips" });
    this.drawBar = h("div", { id: "sl-draw" });
    for (const name of /** @type {const} */ (["prompt", "negative_prompt"])) {
      this.#fields.set(name, this.prompts[name]);
      this.prompts[name].area.addEventListener("focus", () => (this.lastPrompt = name));
    }
    const basic = [...BASIC_ROWS.map((names) => this.#row(names)), ...this.#others("basic")];
    const folds = /** @type {import("../form.js").Accordion[]} */ (Object.keys(FOLDS)).map((group) => this.#fold(group));
    setChildren(root, this.prompts.prompt.frame.element, this.prompts.negative_prompt.frame.element, this.referencesRoot, this.chips, basic, folds, this.drawBar);
    form.subscribe(() => this.#update());
    this.#update();
  }

  /** The field of a control; null: there is none. @param {string} name @returns {Field | null} */
  field(name) {
    return this.#fields.get(name) ?? null;
  }

  /** The field of a seed. @param {string} name @returns {SeedField} */
  seed(name) {
    const field = this.field(name);
    if (!(field instanceof SeedField)) throw new Error(`${name} is not a seed.`);
    return field;
  }

  /** What can be found: fields, and folds by what is in them; key: of the text that names it. @returns {{name: string, key: string, aliases: string[]}[]} */
  get entries() {
    const fields = [...this.#fields.keys()].filter((name) => this.form.shows(name)).map((name) => ({ name, key: `create.${name}`, aliases: CONTROLS_BY_NAME[name]?.aliases ?? [] }));
    const folds = [...this.folds].map(([group, { content }]) => {
      const [first = ""] = [...this.#fields].find(([, { frame }]) => content.contains(frame.element)) ?? [];
      return { name: first || group, key: `create.${group}`, aliases: FOLD_ALIASES[group] ?? [] };
    });
    const references = this.referencesRoot.hidden ? [] : [{ name: "references", key: "create.references", aliases: REFERENCE_ALIASES }];
    return [...fields, ...references, ...folds];
  }

  /** Say what shows a list, once it is loaded. @param {import("./list_field.js").ListName} list @param {Promise<ListPanel>} panel */
  setPanel(list, panel) {
    this.#panels.set(list, panel);
    panel.catch(showError);
  }

  /** Show a field, in its fold if it has one, or a fold without fields of its own, and focus it. @param {string} name */
  show(name) {
    if (name === "references") return this.#showRefusedIn(name);
    const own = this.folds.get(name);
    own?.set(true);
    own?.button.focus();
    own?.element.scrollIntoView({ block: "nearest" });
    const field = this.field(name);
    const fold = field && [...this.folds.values()].find(({ content }) => content.contains(field.frame.element));
    fold?.set(true);
    field?.focus();
    field?.frame.element.scrollIntoView({ block: "nearest" });
  }

  /** Let all texts follow their values. */
  commit() {
    for (const field of this.#fields.values()) field.commit?.();
  }

  /** Show and focus the first field whose value was refused. */
  showRefused() {
    const first = [...this.#fields.keys()].find((name) => this.form.refusals.has(name));
    if (first) return this.show(first);
    const [about] = [...this.form.refusals.keys()].flatMap((name) => listField(name) ?? []);
    if (about) this.#showRefusedIn(about.list);
  }

  /** @param {import("./list_field.js").ListName} list */
  #showRefusedIn(list) {
    this.folds.get(list)?.set(true);
    void this.#panels.get(list)?.then((panel) => panel.showRefused(), () => {});
  }

  #update() {
    const { form } = this;
    for (const [name, field] of this.#fields) {
      const choices = form.choices[name];
      if (choices) field.setChoices?.(choices);
      field.show(form.values[name]);
      const refusal = form.refusals.get(name);
      field.refuse(refusal ? errorWithHint(refusal) : "");
      field.frame.element.hidden = !form.shows(name);
    }
    const { width, height } = form.values;
    this.size.update(form.checkpoint?.draws, editedSizeNote({ width: Number(width), height: Number(height) }, form.editor));
    const regions = this.folds.get("regions");
    if (regions) regions.element.hidden = !form.shows("regions") && !form.regions.list.length;
    const defaults = form.defaults;
    for (const [group, fold] of this.folds) {
      const names = [...this.#fields.keys()].filter((name) => groupOf(name) === group);
      if (group === "control" || group === "regions") fold.showCount(form.lists[group].length, `${group}.count`);
      else fold.showCount(names.filter((name) => (form.values[name] ?? "") !== (defaults[name] ?? "")).length);
    }
  }

  /** @param {string[]} names @returns {HTMLElement} */
  #row(names) {
    const elements = names.map((name) => (name === "size" ? this.#sizeElement() : this.#add(name, names.length > 1 ? "short" : "line")));
    return elements.length > 1 ? h("div", { class: "sl-form-pair" }, elements) : elements[0];
  }

  #sizeElement() {
    for (const side of /** @type {const} */ (["width", "height"])) this.#fields.set(side, this.size.side(side));
    return this.size.frame.element;
  }

  /** @param {string} name @param {"line" | "short"} [layout] @returns {HTMLElement} */
  #add(name, layout) {
    const control = CONTROLS_BY_NAME[name] ?? switchControl(name);
    const field = makeField(control, (value) => this.form.setByUser(name, value), layout);
    this.#fields.set(name, field);
    return field.frame.element;
  }

  /** The fields of a group that have no place yet. @param {string} group @param {string[]} [placed] @returns {HTMLElement[]} */
  #others(group, placed = []) {
    const names = CONTROLS.filter((control) => control.group === group && control.control !== "editor").map(({ name }) => name);
    return names.filter((name) => !PLACED.has(name) && !placed.includes(name)).map((name) => this.#add(name));
  }

  /** @param {import("../form.js").Accordion} group */
  #fold(group) {
    const fold = new Fold(group, t(`create.${group}`));
    const first = { edit: h("div", { id: "sl-start-picture" }), control: this.controlRoot, regions: this.regionsRoot, hires: null, fine: null }[group];
    fold.content.append(...(first ? [first] : []), ...FOLDS[group].map((name) => this.#add(name)), ...this.#others(group, FOLDS[group]));
    this.folds.set(group, fold);
    return fold.element;
  }
}

/** The control of a switch that has no field in the request. @param {string} name @returns {import("../controls.js").FormControl} */
const switchControl = (name) => ({
  name, group: name.split(".")[0], control: "checkbox", type: "boolean", initial: false, unset: null, by_checkpoint: false,
  minimum: null, maximum: null, limit: null, step: null, choices: [], aliases: [],
});

/** @param {string} name */
const groupOf = (name) => CONTROLS_BY_NAME[name]?.group ?? name.split(".")[0];
