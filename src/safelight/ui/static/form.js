// The form of the Create tab: the values of its fields, how they are set, and the request made from them. form/view.js shows it.

import { unitField, Units } from "./control/units.js";
import { CONTROLS, CONTROLS_BY_NAME, numberControl } from "./controls.js";
import { base64 } from "./core/api.js";
import { t } from "./core/text.js";
import { toast } from "./core/toast.js";
import { PromptHistory } from "./form/history.js";
import { listField } from "./form/list_field.js";
import { seedProblem } from "./form/seed_field.js";
import { References } from "./references/list.js";
import { Regions } from "./regions/list.js";

/** @typedef {import("./types").Fields} Fields */
/** @typedef {import("./types").Model} Model */
/** @typedef {import("./controls.js").Value} Value */
/** @typedef {import("./controls.js").FormControl} FormControl */
/** @typedef {import("./form/combobox.js").Choice} Choice */
/** @typedef {import("./types").ErrorBody} ErrorBody */
/**
 * A sampler or a schedule, and the kinds of checkpoints it works with.
 * @typedef {{name: string, kinds: string[], aliases?: string[], stochastic?: boolean, calls_per_step?: number}} CompatibleChoice
 */
/** @typedef {{name: string, value: string, reason: string}} UnfilledField */
/** @typedef {"edit" | "control" | "regions" | "hires" | "fine"} Accordion  a group of controls */
/** @typedef {import("./control/units.js").UnitPicture} UnitPicture */
/** @typedef {{control?: (UnitPicture | null)[], references?: (UnitPicture | null)[], regions?: (Blob | null)[]}} RecalledPictures  pictures of a recalled request's lists, as far as they are known */

const STORAGE_KEY = "safelight.form";
/** The controls of the form; the others are the editor's. */
const FORM_CONTROLS = CONTROLS.filter(({ control }) => control !== "editor");
const HIRES_SWITCH = "hires.on"; // a control without a field: whether the request has hires
/** Initial values; size, steps and guidance are then set from the checkpoint. @type {Record<string, Value>} */
const DEFAULTS = { [HIRES_SWITCH]: false, ...Object.fromEntries(FORM_CONTROLS.map(({ name, initial }) => [name, initial])) };
/** @type {Accordion[]} */
const ACCORDIONS = ["edit", "hires", "fine"];
const BLUR = "inpaint.blur"; // the only control of the editor that can be set without a picture
const DEFAULT_BLUR = numberControl(BLUR).initial;
const PROMPT_FIELDS = ["prompt", "negative_prompt", "sampler", "schedule", "steps", "guidance_scale"]; // of a picture, that its edits also have

export class Form {
  /** The fields' current values. @type {Record<string, Value>} */
  values = { ...DEFAULTS };
  /** Names of the selected styles. @type {string[]} */
  styles = [];
  /** The pictures that steer the generation. */
  units = new Units(() => this.#onUnits());
  #unitsBefore = this.units.list;
  /** The pictures that the model looks at. */
  references = new References(() => this.#onList("references"));
  /** Parts of the picture with prompts of their own. */
  regions = new Regions(() => this.#onList("regions"));
  /** Checkpoints by id. @type {Map<string, Model>} */
  checkpoints = new Map();
  /** Null until the stage is there. @type {import("./editor.js").Editor | null} */
  editor = null;
  /** @type {CompatibleChoice[]} */
  #samplers = [];
  /** @type {CompatibleChoice[]} */
  #schedules = [];
  /** What the server offers, by field. @type {Record<string, Choice[]>} */
  choices = {};
  /** Why the server refused values, by field. @type {Map<string, Pick<ErrorBody, "code" | "message" | "context" | "hint">>} */
  refusals = new Map();
  /** Fields that the user changed before the form was first filled. @type {Set<string>} */
  #changedEarly = new Set();
  #ready = false;
  #pendingBlur = DEFAULT_BLUR; // the mask's blur until there is an editor, which then has it
  /** @type {Set<() => void>} */
  #listeners = new Set();
  /** @type {Promise<import("./editor.js").Editor>} */
  #editor;
  /** @type {(view: import("./form/view.js").FormView) => void} */
  #resolveView = () => {};
  /** @type {Promise<import("./form/view.js").FormView>} */
  #view = new Promise((resolve) => (this.#resolveView = resolve));

  /** @param {Promise<import("./editor.js").Editor>} editor  resolves when the stage is there */
  constructor(editor) {
    this.#editor = editor;
    editor.then((created) => {
      created.blur = this.#blur;
      this.editor = created;
    });
  }

  /** Whether the fields have been filled for the first time. */
  get ready() {
    return this.#ready;
  }

  /** @param {() => void} listener  called after every change */
  subscribe(listener) {
    this.#listeners.add(listener);
  }

  /** Say what shows the form. @param {import("./form/view.js").FormView} view */
  attach(view) {
    this.#resolveView(view);
  }

  /** The user has changed a field. @param {string} name @param {Value} value */
  setByUser(name, value) {
    if (!this.#ready) this.#changedEarly.add(name);
    this.refusals.delete(name);
    this.values[name] = value ?? DEFAULTS[name] ?? null;
    if (name === "checkpoint") this.selectCheckpoint(String(value));
    else this.#notify();
  }

  /** Set fields. @param {Record<string, Value>} values */
  fill(values) {
    Object.assign(this.values, values);
    for (const name of Object.keys(values)) this.refusals.delete(name);
    this.#notify();
  }

  /** The values of a form that nobody has changed. @returns {Record<string, Value>} */
  get defaults() {
    return { ...DEFAULTS, ...this.#checkpointDefaults(String(this.values.checkpoint)) };
  }

  /**
   * Show at its fields why a request was refused.
   * @param {Pick<ErrorBody, "code" | "message" | "hint" | "context" | "field" | "problems">} error
   * @returns {boolean}  whether everything has been shown; otherwise there is no field for it
   */
  refuse(error) {
    const problems = error.problems?.length ? error.problems : [error];
    const named = problems.map((problem) => ({ name: controlOf(problem.field ?? ""), problem }));
    this.refusals = new Map(named.flatMap(({ name, problem }) => (name ? [[name, problem]] : [])));
    this.#notify();
    void this.#view.then((view) => view.showRefused());
    return named.every(({ name }) => name !== null);
  }

  /** What is wrong with the values, as far as that can be said without the server. @returns {import("./types").FieldProblem[]} */
  check() {
    const multiple = this.checkpoint?.draws?.size_multiple ?? 1;
    const problems = FORM_CONTROLS.flatMap((control) => {
      const { name } = control;
      const value = this.values[name];
      const problem = isSeed(control) ? seedProblem(String(value ?? ""), BigInt(control.limit ?? 0)) : name === "width" || name === "height" ? multipleProblem(Number(value), multiple) : null;
      return problem ? [{ field: name, message: "", ...problem }] : [];
    });
    return [...problems, ...this.references.check(), ...this.regions.check(), ...this.units.check(!!this.editor?.picture)];
  }

  /** Notify listeners of a change outside the fields: the editor's picture, the styles. */
  notifyChange() {
    this.#notify();
  }

  /** Select a checkpoint, with its default size and steps. @param {string} id  empty: the default checkpoint */
  selectCheckpoint(id) {
    const checkpoint = this.#checkpointValue(id);
    this.#setCompatibleChoices(checkpoint);
    this.fill({ ...this.#checkpointDefaults(checkpoint), sampler: "", schedule: "", checkpoint });
  }

  /** Reset everything but the checkpoint; can be undone. */
  reset() {
    const before = this.#snapshot();
    const { checkpoint } = this.values;
    this.styles = [];
    this.units.set([]);
    this.references.set([]);
    this.regions.set([]);
    this.editor?.setPicture(null);
    this.#blur = DEFAULT_BLUR;
    this.fill({ ...DEFAULTS, ...this.#checkpointDefaults(String(checkpoint)), checkpoint });
    toast(t("create.reset.done"), { action: { label: t("undo"), run: before } });
  }

  /** Set the models to choose from. @param {Model[]} models */
  setModels(models) {
    const checkpoints = models.filter((model) => model.kind === "checkpoint");
    this.checkpoints = new Map(checkpoints.map((model) => [model.id, model]));
    const defaultModel = checkpoints.find((model) => model.default);
    this.choices.checkpoint = [{ value: "", label: t("create.checkpoint.usual", { name: defaultModel?.id ?? "" }), detail: familyOf(defaultModel) }, ...checkpoints.filter((model) => !model.default).map(modelChoice)];
    this.choices["hires.upscaler"] = [{ value: "latent", label: t("create.hires.latent") }, ...models.filter((model) => model.kind === "upscaler").map(modelChoice)];
    this.#setCompatibleChoices(String(this.values.checkpoint));
    this.#notify();
  }

  /** Set the samplers and schedules to choose from; those that do not work with the checkpoint are left out. @param {CompatibleChoice[]} samplers @param {CompatibleChoice[]} schedules */
  setSamplers(samplers, schedules) {
    this.#samplers = samplers;
    this.#schedules = schedules;
    this.#setCompatibleChoices(String(this.values.checkpoint));
    this.#notify();
  }

  /** Remove selected styles that do not exist. @param {string[]} names */
  setStyles(names) {
    this.styles = this.styles.filter((name) => names.includes(name));
  }

  /** Fill the form from the last visit or the checkpoint's defaults; fields that the user changed meanwhile keep their value. */
  restore() {
    const { values = {}, styles = [], drawn } = readStorage();
    const typed = Object.fromEntries([...this.#changedEarly].map((name) => [name, this.values[name]]));
    const checkpoint = this.#checkpointValue(String(values.checkpoint ?? ""));
    const currentCheckpoint = this.#findCheckpoint(checkpoint)?.id ?? "";
    this.#ready = true;
    const stored = Object.fromEntries(Object.entries(values).filter(([name]) => name in DEFAULTS && (drawn === currentCheckpoint || !CONTROLS_BY_NAME[name]?.by_checkpoint)));
    this.styles = styles;
    this.#setCompatibleChoices(checkpoint);
    this.fill({ ...DEFAULTS, ...this.#checkpointDefaults(checkpoint), ...stored, checkpoint, ...typed });
  }

  /** The checkpoint that would be used. @returns {Model | undefined} */
  get checkpoint() {
    return this.#findCheckpoint(String(this.values.checkpoint));
  }

  /** Whether a field is shown: one that the checkpoint does not take only while it has a value. @param {string} name */
  shows(name) {
    const { [name]: control } = CONTROLS_BY_NAME;
    return !this.checkpoint?.draws?.not_taken.includes(name) || (!!control && this.values[name] !== control.initial);
  }

  /** The items of the request's lists, which are replaced when they change. @returns {Record<import("./form/list_field.js").ListName, readonly unknown[]>} */
  get lists() {
    return { control: this.units.list, references: this.references.list, regions: this.regions.list };
  }

  /** How the checkpoint looks at pictures; null: it does not. @returns {import("./types").ReferenceLimits | null} */
  get referenceLimits() {
    return this.checkpoint?.references ?? null;
  }

  /**
   * Let the model look at pictures; those beyond what the checkpoint takes are left out, and a message says so.
   * @param {UnitPicture[]} pictures
   * @returns {number}  how many were added
   */
  addReferences(pictures) {
    const limits = this.referenceLimits;
    const room = limits ? (limits.maximum ?? Infinity) - this.references.list.length : 0;
    const added = pictures.slice(0, Math.max(0, room));
    if (added.length < pictures.length) toast(limits ? t("references.limit", { n: limits.maximum ?? 0 }) : t("references.not_taken"), { kind: "error" });
    if (added.length) this.references.add(added);
    return added.length;
  }

  /** A checkpoint's own size; null while it is not known. @param {string | null | undefined} id  none: the default checkpoint @returns {{width: number, height: number} | null} */
  defaultSize(id) {
    const { width, height } = this.#checkpointDefaults(id ?? "");
    return width && height ? { width: Number(width), height: Number(height) } : null;
  }

  /**
   * Fill the form from recalled parameters; can be undone.
   * @param {import("./types").RecallResult} recalled
   * @param {RecalledPictures} [pictures]
   * @returns {boolean}  whether there were any
   */
  recall({ source, fields, unfilled }, pictures = {}) {
    if (source === "none") {
      toast(t("recall.nothing"), { kind: "error", hint: t("recall.nothing.hint") });
      return false;
    }
    const before = this.#snapshot();
    const { styles = [], control = [], regions = [], references: _, ...rest } = fields; // what an infotext says of references is in unfilled
    const given = flatten(rest);
    const checkpoint = this.#checkpointValue(String(given.checkpoint ?? ""));
    delete given.checkpoint;
    const { fillable, outOfRange } = this.#splitByLimits(given);
    const { [BLUR]: blur = DEFAULT_BLUR, ...values } = fillable;
    this.editor?.setPicture(null);
    this.#blur = Number(blur);
    this.styles = styles;
    this.units.recall(control, unfilled, pictures.control ?? []);
    this.references.set([]);
    this.references.add(lackingReferences(unfilled).map((index) => pictures.references?.[index] ?? null));
    this.regions.recall(regions, pictures.regions ?? []);
    if (control.length) void this.openAccordion("control");
    if (regions.length) void this.openAccordion("regions");
    this.#setCompatibleChoices(checkpoint);
    this.fill({ ...DEFAULTS, ...this.#checkpointDefaults(checkpoint), ...values, checkpoint, [HIRES_SWITCH]: !!fields.hires });
    for (const accordion of ACCORDIONS) {
      const used = Object.keys(fillable).some((name) => CONTROLS_BY_NAME[name]?.group === accordion && fillable[name] !== CONTROLS_BY_NAME[name].initial);
      if (used) void this.openAccordion(accordion);
    }
    const lacking = unfilled.filter(({ name }) => {
      const about = listField(name);
      return !(about && (about.name === "image" || about.list === "regions") && pictures[about.list]?.[about.index ?? -1]);
    });
    void this.#reportRecall([...lacking, ...outOfRange], before);
    return true;
  }

  /** Open a picture in the editor. @param {Blob} blob @param {string | null} [parent]  its id in the gallery */
  async editPicture(blob, parent = null) {
    await this.openAccordion("edit");
    await (await this.#editor).open(blob, parent);
  }

  /** Take the prompts and the sampling of a picture that is edited, but neither its size nor its seed; can be undone. @param {import("./types").RecallResult} recalled */
  takePrompt({ fields }) {
    const { values, styles } = this;
    const given = Object.fromEntries(PROMPT_FIELDS.filter((name) => name in fields).map((name) => [name, /** @type {Record<string, any>} */ (fields)[name]]));
    if (fields.checkpoint && this.checkpoints.has(fields.checkpoint)) {
      given.checkpoint = this.#checkpointValue(fields.checkpoint);
      this.#setCompatibleChoices(given.checkpoint);
    }
    const before = Object.fromEntries(Object.keys(given).map((name) => [name, values[name]]));
    this.styles = fields.styles ?? [];
    this.fill(given);
    const undo = () => {
      this.styles = styles;
      this.#setCompatibleChoices(String(before.checkpoint ?? this.values.checkpoint));
      this.fill(before);
    };
    toast(t("editing.prompt.taken"), { action: { label: t("undo"), run: undo } });
  }

  /** Show a field, in its accordion if it has one, and focus it. @param {string} name */
  async showField(name) {
    (await this.#view).show(name);
  }

  /** Open an accordion. @param {Accordion} accordion */
  async openAccordion(accordion) {
    (await this.#view).folds.get(accordion)?.set(true);
  }

  /**
   * The form as a request of our API.
   * @returns {Promise<Fields>}
   */
  async request() {
    const v = this.values;
    const editor = this.editor?.picture ? this.editor : null;
    const mask = await editor?.mask();
    /** Optional parts of a request, and whether this one has them. @type {Record<string, boolean>} */
    const parts = { hires: !!v[HIRES_SWITCH], refiner: !!v["refiner.checkpoint"], region_method: this.regions.list.length > 0, variation: !!v["variation.strength"], inpaint: !!(mask || editor?.outpaint) };
    const controls = FORM_CONTROLS.filter(({ name, group }) => (editor || group !== "edit") && parts[name.split(".")[0]] !== false);
    const values = controls.map((control) => [control.name, isSeed(control) ? parseWhole(v[control.name]) : v[control.name]]);
    const given = nest(values.filter(([name, value]) => value !== CONTROLS_BY_NAME[String(name)].unset));
    given.kind = "generate";
    if (this.styles.length) given.styles = this.styles;
    if (this.units.list.length) given.control = await this.units.requestFields();
    if (this.regions.list.length) given.regions = await this.regions.requestFields({ width: Number(v.width), height: Number(v.height) });
    if (this.references.list.length) given.references = await this.references.requestFields();
    if (parts.hires) given.hires ??= {};
    if (parts.variation) given.variation.seed ??= Math.floor(Math.random() * 2 ** 32);
    if (!editor) return given;
    given.init_image = await base64(/** @type {Blob} */ (editor.picture));
    if (editor.parent) given.parent = editor.parent;
    if (parts.inpaint) given.inpaint = { ...given.inpaint, blur: editor.blur };
    if (mask) given.mask = await base64(mask);
    if (editor.outpaint) Object.assign(given, { outpaint: editor.outpaint, inpaint: { ...given.inpaint, only_masked: false } });
    return given;
  }

  /** Remove the form's values and the prompts from localStorage. */
  static clearStorage() {
    localStorage.removeItem(STORAGE_KEY);
    PromptHistory.clear();
  }

  /** The value of the checkpoint field: empty for the default checkpoint and for one that does not exist. @param {string} id */
  #checkpointValue(id) {
    const model = this.checkpoints.get(id);
    return model && !model.default ? id : "";
  }

  /** @param {string} checkpoint */
  #findCheckpoint(checkpoint) {
    return this.checkpoints.get(checkpoint) ?? [...this.checkpoints.values()].find((model) => model.default);
  }

  /** A checkpoint's default values. @param {string} checkpoint @returns {Record<string, Value>} */
  #checkpointDefaults(checkpoint) {
    const defaults = this.#findCheckpoint(checkpoint)?.draws;
    return defaults ? { width: defaults.width, height: defaults.height, steps: defaults.steps, guidance_scale: defaults.guidance_scale } : {};
  }

  /** @param {string} checkpoint */
  #setCompatibleChoices(checkpoint) {
    const defaults = this.#findCheckpoint(checkpoint)?.draws;
    const fits = (/** @type {CompatibleChoice[]} */ all) => all.filter(({ kinds }) => !defaults || kinds.includes(defaults.kind));
    this.choices.sampler = [{ value: "", label: t("create.sampler.usual", { name: defaults?.sampler ?? "" }) }, ...fits(this.#samplers).map(samplerChoice)];
    const checkpoints = [...this.checkpoints.values()], family = this.#findCheckpoint(checkpoint)?.family;
    const group = (/** @type {Model} */ model) => t(model.family === family ? "control.models.fitting" : "control.models.other_family");
    const others = [...checkpoints.filter((model) => model.family === family), ...checkpoints.filter((model) => model.family !== family)].map((model) => ({ ...modelChoice(model), group: group(model) }));
    for (const name of ["hires.checkpoint", "refiner.checkpoint"]) this.choices[name] = [{ value: "", label: t(`create.${name}.unset`) }, ...others];
    this.choices.schedule = [{ value: "", label: t("create.schedule.usual") }, ...fits(this.#schedules).map(({ name }) => ({ value: name, label: name }))];
  }

  /**
   * Split values into those that their fields can take, and those without a field or outside a slider's range.
   * @param {Record<string, Value>} given
   * @returns {{fillable: Record<string, Value>, outOfRange: UnfilledField[]}}
   */
  #splitByLimits(given) {
    /** @type {Record<string, Value>} */
    const fillable = {};
    /** @type {UnfilledField[]} */
    const outOfRange = [];
    for (const [name, value] of Object.entries(given)) {
      const hasControl = name in DEFAULTS || name === BLUR;
      if (value === null || (!hasControl && !value)) continue;
      const control = CONTROLS_BY_NAME[name];
      const typed = control?.control !== "editor" && typeof control?.limit === "number" ? control.limit : null; // above the end of a slider
      const [min, max] = [control?.minimum ?? -Infinity, typed ?? control?.maximum ?? Infinity];
      if (!hasControl) outOfRange.push({ name, value: String(value), reason: t("recall.no_field") });
      else if (typeof value === "number" && (value < min || value > max)) outOfRange.push({ name, value: String(value), reason: t("recall.beyond", { least: min, most: max }) });
      else fillable[name] = control && isSeed(control) ? String(value) : value;
    }
    return { fillable, outOfRange };
  }

  /** @param {UnfilledField[]} unfilled @param {() => void} undo */
  async #reportRecall(unfilled, undo) {
    if (unfilled.length === 0) return toast(t("recall.all"), { action: { label: t("undo"), run: undo } });
    const { reportUnfilled } = await import("./form/recall_report.js");
    await reportUnfilled(unfilled, undo);
  }

  /** Blur of the mask's edge, in pixels of the picture. */
  get #blur() {
    return this.editor?.blur ?? this.#pendingBlur;
  }

  set #blur(pixels) {
    if (this.editor) this.editor.blur = pixels;
    else this.#pendingBlur = pixels;
  }

  /** Returns a function that restores the current state. @returns {() => void} */
  #snapshot() {
    const { values, styles, editor } = this;
    const units = this.units.list, references = this.references.list, regions = this.regions.list;
    const [before, blur, picture, maskFile, outpaint] = [{ ...values }, this.#blur, editor?.picture ?? null, editor?.picture ? editor.mask() : null, editor?.outpaint ?? null];
    return async () => {
      this.styles = styles;
      this.units.set(units);
      this.references.set(references);
      this.regions.set(regions);
      this.#blur = blur;
      this.#setCompatibleChoices(String(before.checkpoint));
      if (editor && picture) {
        await editor.setPicture(picture);
        const mask = await maskFile;
        if (mask) await editor.setMask(mask);
        if (outpaint) editor.setOutpaint(outpaint);
      }
      this.fill(before);
    };
  }

  /** The refusals of a unit that was changed no longer hold; where one was added or removed, those of all. */
  #onUnits() {
    const { list } = this.units;
    const before = this.#unitsBefore;
    this.#unitsBefore = list;
    const sameUnits = list.length === before.length && list.every(({ id }, index) => id === before[index].id);
    for (const field of [...this.refusals.keys()]) {
      const about = unitField(field);
      if (about && !(sameUnits && list[about.index] === before[about.index])) this.refusals.delete(field);
    }
    this.#notify();
  }

  /** Refusals of a list that was changed no longer hold. @param {import("./form/list_field.js").ListName} name */
  #onList(name) {
    for (const field of [...this.refusals.keys()]) if (listField(field)?.list === name) this.refusals.delete(field);
    this.#notify();
  }

  #notify() {
    if (this.#ready) {
      localStorage.setItem(STORAGE_KEY, JSON.stringify({ values: this.values, styles: this.styles, drawn: this.checkpoint?.id ?? "" }));
    }
    for (const listener of this.#listeners) listener();
  }
}

/** The form's values from localStorage. @returns {{values?: Record<string, Value>, styles?: string[], drawn?: string}} */
function readStorage() {
  try {
    return JSON.parse(localStorage.getItem(STORAGE_KEY) ?? "{}");
  } catch {
    return {};
  }
}

/** Nested objects as names with dots, the names of the fields. @param {Fields} fields @returns {Record<string, Value>} */
function flatten(fields) {
  const parts = Object.entries(fields).map(([name, value]) =>
    value !== null && typeof value === "object" ? Object.entries(value).map(([key, inner]) => [`${name}.${key}`, inner]) : [[name, value]],
  );
  return Object.fromEntries(parts.flat());
}

/** The inverse: values by names with dots as a request's fields; undefined values are left out. @param {unknown[][]} pairs @returns {Record<string, any>} */
function nest(pairs) {
  /** @type {Record<string, any>} */
  const fields = {};
  for (const [path, value] of pairs) {
    const [name, key] = String(path).split(".");
    if (value === undefined) continue;
    else if (key) (fields[name] ??= {})[key] = value;
    else fields[name] = value;
  }
  return fields;
}

/** The places of a recalled picture's references, none of which is in its file. @param {import("./types").RecallResult["unfilled"]} unfilled */
const lackingReferences = (unfilled) => unfilled.map(({ name }) => listField(name)).flatMap((about) => (about?.list === "references" && about.index !== null ? [about.index] : []));

/** Whether a control is a seed's: a number with so many digits is a text. @param {FormControl} control */
const isSeed = ({ control, type }) => type === "integer" && control === "text";

/** The control of a request's field; of a part of the request, its switch or its first control. @param {string} field @returns {string | null} */
function controlOf(field) {
  if (listField(field)) return field;
  if (field in DEFAULTS) return field;
  if (`${field}.on` in DEFAULTS) return `${field}.on`;
  return (field && FORM_CONTROLS.find(({ name }) => name.startsWith(`${field}.`))?.name) || null;
}

/** What is wrong with a side, as the server would say it. @param {number} side @param {number} multiple */
function multipleProblem(side, multiple) {
  const lower = Math.max(multiple, side - (side % multiple));
  return side % multiple ? { code: "request.not_multiple", context: { multiple, nearest: [lower, lower + multiple] } } : null;
}

/** @param {Model} model @returns {Choice} */
const modelChoice = (model) => ({ value: model.id, label: model.id, detail: familyOf(model) });
/** @param {Model | undefined} model */
const familyOf = (model) => model?.family ?? "";
/** @param {CompatibleChoice} sampler @returns {Choice} */
const samplerChoice = ({ name, aliases = [], stochastic = false, calls_per_step = 1 }) => ({
  value: name,
  label: name,
  aliases,
  group: t(stochastic ? "create.sampler.stochastic" : "create.sampler.steady"),
  detail: calls_per_step > 1 ? t("create.sampler.calls", { n: calls_per_step }) : "",
});

/**
 * A whole number from a text field, or undefined. Other text, and a number that JavaScript cannot represent exactly, is sent
 * to the server as a string, which accepts the number and explains an error.
 * @param {Value} value
 */
function parseWhole(value) {
  const text = String(value ?? "").trim();
  return text === "" ? undefined : /^\d{1,15}$/.test(text) ? Number(text) : text;
}
