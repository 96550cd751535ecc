// The form of Create: what its Gradio fields hold, how they are filled in, and the request that comes of them.

import { base64 } from "./core/api.js";
import { dialog } from "./core/dialog.js";
import { waitForElement, h } from "./core/dom.js";
import { t } from "./core/text.js";
import { toast } from "./core/toast.js";

/** @typedef {import("./types").Fields} Fields */
/** @typedef {import("./types").Model} Model */
/** @typedef {string | number | boolean | null} Value */
/** @typedef {{name: string, kinds: string[]}} CompatibleChoice  a sampler or a schedule, and the checkpoints it fits */
/** @typedef {{name: string, value: string, reason: string}} UnfilledField */

const STORAGE_KEY = "safelight.form";
/** What every field holds until somebody changes it; sizes, steps and guidance are the checkpoint's. @type {Record<string, Value>} */
const DEFAULTS = {
  prompt: "", negative_prompt: "", width: 512, height: 512, steps: 20, guidance_scale: 5, sampler: "", checkpoint: "", seed: "", count: 1,
  strength: 0.6, "inpaint.fill": "original", "inpaint.padding": 32, "inpaint.only_masked": false,
  "hires.on": false, "hires.scale": 2, "hires.strength": 0.6, "hires.upscaler": "latent", "hires.steps": 0,
  schedule: "", clip_skip: 1, guidance_rescale: 0, guidance_method: "cfg", guidance_start: 0, guidance_end: 1, pag_scale: 0, eta: "",
  "variation.seed": "", "variation.strength": 0,
};
const CHECKPOINT_FIELDS = ["width", "height", "steps", "guidance_scale", "sampler", "schedule"]; // what another checkpoint has otherwise
const NUMBERS_AS_TEXT = ["seed", "eta", "variation.seed"]; // numbers that are typed as text
const ACCORDIONS = {
  edit: ["strength", "inpaint."],
  hires: ["hires."],
  fine: ["schedule", "clip_skip", "guidance_rescale", "guidance_method", "guidance_start", "guidance_end", "pag_scale", "eta", "variation."],
};
const MAX_LISTED = 4; // how many unfilled things a note names; more are listed in a dialog

export class Form {
  /** What the fields hold. @type {Record<string, Value>} */
  values = { ...DEFAULTS };
  /** Names of the styles that are on. @type {string[]} */
  styles = [];
  /** Checkpoints by id. @type {Map<string, Model>} */
  checkpoints = new Map();
  /** The least and the most that a slider takes, by field. @type {Record<string, [number, number]>} */
  limits = {};
  /** There once its fold has been opened. @type {import("./editor.js").Editor | null} */
  editor = null;
  /** @type {CompatibleChoice[]} */
  #samplers = [];
  /** @type {CompatibleChoice[]} */
  #schedules = [];
  /** What Gradio has not been given yet. @type {Record<string, {value?: Value, choices?: [string, string][]}>} */
  #updates = {};
  /** What was typed before the fields were filled in for the first time. @type {Set<string>} */
  #changedEarly = new Set();
  #ready = false;
  /** @type {Set<() => void>} */
  #listeners = new Set();
  /** @type {Promise<import("./editor.js").Editor>} */
  #editor;

  /** @param {Promise<import("./editor.js").Editor>} editor  There once its fold has been opened. */
  constructor(editor) {
    this.#editor = editor;
    editor.then((made) => (this.editor = made));
  }

  /** Whether the fields have been filled in for the first time. */
  get ready() {
    return this.#ready;
  }

  /** @param {() => void} listener  Told of every change. */
  subscribe(listener) {
    this.#listeners.add(listener);
  }

  /** Called by Gradio when the user has changed a field. @param {string} name @param {Value} value */
  changed(name, value) {
    if (!this.#ready) this.#changedEarly.add(name);
    this.values[name] = value ?? DEFAULTS[name] ?? null;
    if (name === "checkpoint") this.selectCheckpoint(String(value));
    else this.#notify();
  }

  /** Listen to the fields that hold text. @param {HTMLElement} root  What all of them are in. */
  listenToInputs(root) {
    const names = Object.fromEntries(Object.keys(DEFAULTS).map((name) => [`sl-${name.replace(/[_.]/g, "-")}`, name]));
    root.addEventListener("input", ({ target }) => {
      const isText = target instanceof HTMLTextAreaElement || (target instanceof HTMLInputElement && target.type === "text" && target.role !== "combobox");
      const name = isText && names[target.closest('.block[id^="sl-"]')?.id ?? ""];
      if (name) this.changed(name, target.value);
    });
  }

  /**
   * Called by Gradio when its fields are to be filled in: those that something is waiting for get it, the others stay as they
   * are, so that nothing that is being typed is lost.
   * @param {string[]} names
   * @returns {unknown[]}
   */
  takeUpdates(names) {
    const waiting = this.#updates;
    this.#updates = {};
    this.#ready = true;
    return names.map((name) => ({ __type__: "update", ...waiting[name] }));
  }

  /** Put values into fields. @param {Record<string, Value>} values */
  fill(values) {
    Object.assign(this.values, values);
    for (const [name, value] of Object.entries(values)) this.#updates[name] = { ...this.#updates[name], value };
    document.querySelector(/** @type {"button"} */ ("#sl-fill"))?.click();
    this.#notify();
  }

  /** Something that is no field has changed: the editor's picture, the styles. */
  notifyChange() {
    this.#notify();
  }

  /** Draw with another checkpoint, at its size and with its steps. @param {string} id  Empty: the usual one. */
  selectCheckpoint(id) {
    const checkpoint = this.#checkpointValue(id);
    this.#setCompatibleChoices(checkpoint);
    this.fill({ ...this.#checkpointDefaults(checkpoint), sampler: "", schedule: "", checkpoint });
  }

  /** All as it is for a new picture; can be taken back. */
  reset() {
    const before = this.#snapshot();
    const { checkpoint } = this.values;
    this.styles = [];
    this.editor?.setPicture(null);
    this.fill({ ...DEFAULTS, ...this.#checkpointDefaults(String(checkpoint)), checkpoint });
    toast(t("create.reset.done"), { action: { label: t("undo"), run: before } });
  }

  /** Offer these models. @param {Model[]} models */
  setModels(models) {
    const checkpoints = models.filter((model) => model.kind === "checkpoint");
    this.checkpoints = new Map(checkpoints.map((model) => [model.id, model]));
    const defaultModel = checkpoints.find((model) => model.default);
    this.#setChoices("checkpoint", [[t("create.checkpoint.usual", { name: defaultModel?.id ?? "" }), ""], ...checkpoints.filter((model) => !model.default).map(modelChoice)]);
    this.#setChoices("hires.upscaler", [[t("create.hires.latent"), "latent"], ...models.filter((model) => model.kind === "upscaler").map(modelChoice)]);
  }

  /** Offer these samplers and schedules, as far as they fit the checkpoint. @param {CompatibleChoice[]} samplers @param {CompatibleChoice[]} schedules */
  setSamplers(samplers, schedules) {
    this.#samplers = samplers;
    this.#schedules = schedules;
    this.#setCompatibleChoices(String(this.values.checkpoint));
  }

  /** Only these styles are there. @param {string[]} names */
  setStyles(names) {
    this.styles = this.styles.filter((name) => names.includes(name));
  }

  /** Fill in what the last visit left, or what suits the checkpoint; what was typed meanwhile stays. */
  restore() {
    const { values = {}, styles = [], drawn } = readStorage();
    const typed = Object.fromEntries([...this.#changedEarly].map((name) => [name, this.values[name]]));
    const checkpoint = this.#checkpointValue(String(values.checkpoint ?? ""));
    const currentCheckpoint = this.#findCheckpoint(checkpoint)?.id ?? "";
    const stored = Object.fromEntries(Object.entries(values).filter(([name]) => name in DEFAULTS && (drawn === currentCheckpoint || !CHECKPOINT_FIELDS.includes(name))));
    this.styles = styles;
    this.#setCompatibleChoices(checkpoint);
    this.fill({ ...DEFAULTS, ...this.#checkpointDefaults(checkpoint), ...stored, checkpoint, ...typed });
  }

  /** The checkpoint that would draw. @returns {Model | undefined} */
  get checkpoint() {
    return this.#findCheckpoint(String(this.values.checkpoint));
  }

  /**
   * Take over what a picture or a text says of itself; can be taken back.
   * @param {import("./types").RecallResult} recalled
   * @returns {boolean}  Whether there was anything.
   */
  recall({ source, fields, unfilled }) {
    if (source === "none") {
      toast(t("recall.nothing"), { kind: "error", hint: t("recall.nothing.hint") });
      return false;
    }
    const before = this.#snapshot();
    const { styles = [], ...rest } = fields;
    const given = flatten(rest);
    const checkpoint = this.#checkpointValue(String(given.checkpoint ?? ""));
    const blur = given["inpaint.blur"];
    delete given["inpaint.blur"];
    delete given.checkpoint;
    const { fillable, outOfRange } = this.#splitByLimits(given);
    this.editor?.setPicture(null);
    if (this.editor && typeof blur === "number") this.editor.blur = blur;
    this.styles = styles;
    this.#setCompatibleChoices(checkpoint);
    this.fill({ ...DEFAULTS, ...this.#checkpointDefaults(checkpoint), ...fillable, checkpoint, "hires.on": !!fields.hires });
    for (const [accordion, names] of Object.entries(ACCORDIONS)) {
      const used = Object.keys(fillable).some((name) => fillable[name] !== DEFAULTS[name] && names.some((each) => name.startsWith(each)));
      if (used) void this.openAccordion(/** @type {keyof typeof ACCORDIONS} */ (accordion));
    }
    this.#reportRecall([...unfilled, ...outOfRange], before);
    return true;
  }

  /** Put a picture into the editor. @param {Blob} blob */
  async editPicture(blob) {
    await this.openAccordion("edit");
    await (await this.#editor).setPicture(blob);
  }

  /** Draw at a picture's shape. @param {{width: number, height: number}} size  In pixels. */
  setSize({ width, height }) {
    this.fill(fitSize(width, height, this.checkpoint?.draws));
  }

  /** Open one of the folds. @param {keyof typeof ACCORDIONS} accordion */
  async openAccordion(accordion) {
    const bar = await waitForElement(`#sl-fold-${accordion} > button`);
    if (!bar.classList.contains("open")) bar.click();
  }

  /**
   * What the fields ask for, as our API takes it.
   * @returns {Promise<Fields>}
   */
  async request() {
    const v = this.values;
    const editor = this.editor?.picture ? this.editor : null;
    const mask = await editor?.mask();
    const given = {
      kind: "generate",
      prompt: v.prompt,
      negative_prompt: v.negative_prompt || undefined,
      styles: this.styles.length ? this.styles : undefined,
      checkpoint: v.checkpoint || undefined,
      width: v.width, height: v.height, steps: v.steps, guidance_scale: v.guidance_scale,
      sampler: v.sampler || undefined,
      schedule: v.schedule || undefined,
      seed: parseWhole(v.seed),
      count: v.count,
      clip_skip: v.clip_skip === 1 ? undefined : v.clip_skip,
      guidance_rescale: v.guidance_rescale || undefined,
      guidance_method: v.guidance_method === "cfg" ? undefined : v.guidance_method,
      guidance_start: v.guidance_start || undefined,
      guidance_end: v.guidance_end === 1 ? undefined : v.guidance_end,
      pag_scale: v.pag_scale || undefined,
      eta: v.eta === "" ? undefined : v.eta,
      variation: v["variation.strength"]
        ? { seed: parseWhole(v["variation.seed"]) ?? Math.floor(Math.random() * 2 ** 32), strength: v["variation.strength"] }
        : undefined,
      hires: v["hires.on"]
        ? { scale: v["hires.scale"], strength: v["hires.strength"], upscaler: v["hires.upscaler"], steps: v["hires.steps"] || undefined }
        : undefined,
    };
    if (!editor) return given;
    const inpaint = { padding: v["inpaint.padding"], only_masked: v["inpaint.only_masked"], fill: v["inpaint.fill"], blur: editor.blur };
    return {
      ...given,
      init_image: await base64(/** @type {Blob} */ (editor.picture)),
      strength: v.strength,
      ...(mask ? { mask: await base64(mask), inpaint: inpaint } : {}),
      ...(editor.outpaint ? { outpaint: editor.outpaint, inpaint: { ...inpaint, only_masked: false } } : {}),
    };
  }

  /** Forget what is kept in this browser. */
  static clearStorage() {
    localStorage.removeItem(STORAGE_KEY);
  }

  /** A checkpoint's value in its field: the usual one is the empty one, and so is one that is not here. @param {string} id */
  #checkpointValue(id) {
    const model = this.checkpoints.get(id);
    return model && !model.default ? id : "";
  }

  /** @param {string} checkpoint */
  #findCheckpoint(checkpoint) {
    return this.checkpoints.get(checkpoint) ?? [...this.checkpoints.values()].find((model) => model.default);
  }

  /** What a checkpoint draws with when nobody says otherwise. @param {string} checkpoint @returns {Record<string, Value>} */
  #checkpointDefaults(checkpoint) {
    const draws = this.#findCheckpoint(checkpoint)?.draws;
    return draws ? { width: draws.width, height: draws.height, steps: draws.steps, guidance_scale: draws.guidance_scale } : {};
  }

  /** @param {string} checkpoint */
  #setCompatibleChoices(checkpoint) {
    const kind = this.#findCheckpoint(checkpoint)?.draws?.kind;
    const fits = (/** @type {CompatibleChoice[]} */ all) => all.filter(({ kinds }) => !kind || kinds.includes(kind)).map(({ name }) => nameChoice(name));
    this.#setChoices("sampler", [[t("create.sampler.usual"), ""], ...fits(this.#samplers)]);
    this.#setChoices("schedule", [[t("create.schedule.usual"), ""], ...fits(this.#schedules)]);
  }

  /** @param {string} name @param {[string, string][]} choices  Titles with their values. */
  #setChoices(name, choices) {
    this.#updates[name] = { value: this.values[name], ...this.#updates[name], choices };
  }

  /**
   * Which of the values there are fields for, and which there are not, or not up to there.
   * @param {Record<string, Value>} given
   * @returns {{fillable: Record<string, Value>, outOfRange: UnfilledField[]}}
   */
  #splitByLimits(given) {
    /** @type {Record<string, Value>} */
    const fillable = {};
    /** @type {UnfilledField[]} */
    const outOfRange = [];
    for (const [name, value] of Object.entries(given)) {
      if (value === null || (!(name in DEFAULTS) && !value)) continue;
      const [min, max] = this.limits[name] ?? [-Infinity, Infinity];
      if (!(name in DEFAULTS)) outOfRange.push({ name, value: String(value), reason: t("recall.no_field") });
      else if (typeof value === "number" && (value < min || value > max)) outOfRange.push({ name, value: String(value), reason: t("recall.beyond", { least: min, most: max }) });
      else fillable[name] = NUMBERS_AS_TEXT.includes(name) ? String(value) : value;
    }
    return { fillable, outOfRange };
  }

  /** @param {UnfilledField[]} unfilled @param {() => void} undo */
  #reportRecall(unfilled, undo) {
    const undoAction = { label: t("undo"), run: undo };
    if (unfilled.length === 0) return toast(t("recall.all"), { action: undoAction });
    const lines = unfilled.map(({ name, value, reason }) => `${name}${value ? `: ${value}` : ""} (${reason})`);
    if (lines.length > MAX_LISTED) dialog(t("recall.some", { n: lines.length }), h("ul", { class: "sl-unfilled" }, lines.map((line) => h("li", {}, line))));
    toast(t("recall.some", { n: lines.length }), { kind: "error", duration: 20000, action: undoAction, hint: lines.length > MAX_LISTED ? "" : lines.join(" · ") });
  }

  /** Everything as it is now, to go back to. @returns {() => void} */
  #snapshot() {
    const { values, styles, editor } = this;
    const [before, picture, maskFile, outpaint] = [{ ...values }, editor?.picture ?? null, editor?.picture ? editor.mask() : null, editor?.outpaint ?? null];
    return async () => {
      this.styles = styles;
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

  #notify() {
    if (this.#ready) {
      localStorage.setItem(STORAGE_KEY, JSON.stringify({ values: this.values, styles: this.styles, drawn: this.checkpoint?.id ?? "" }));
    }
    for (const listener of this.#listeners) listener();
  }
}

/** A size with a picture's shape that the checkpoint can draw. @param {number} width @param {number} height @param {import("./types").GenerationDefaults | null} [draws] */
export function fitSize(width, height, draws) {
  const step = draws?.size_multiple ?? 8;
  const scale = Math.min(1, Math.sqrt(((draws?.width ?? 512) * (draws?.height ?? 512) * 1.5) / (width * height)));
  const round = (/** @type {number} */ side) => Math.max(64, Math.round((side * scale) / step) * step);
  return { width: round(width), height: round(height) };
}

/** What the last visit left. @returns {{values?: Record<string, Value>, styles?: string[], drawn?: string}} */
function readStorage() {
  try {
    return JSON.parse(localStorage.getItem(STORAGE_KEY) ?? "{}");
  } catch {
    return {};
  }
}

/** Nested parts as names with dots, as the fields are called. @param {Fields} fields @returns {Record<string, Value>} */
function flatten(fields) {
  const parts = Object.entries(fields).map(([name, value]) =>
    value !== null && typeof value === "object" ? Object.entries(value).map(([key, inner]) => [`${name}.${key}`, inner]) : [[name, value]],
  );
  return Object.fromEntries(parts.flat());
}

/** @param {Model} model @returns {[string, string]} */
const modelChoice = (model) => [model.id, model.id];
/** @param {string} name @returns {[string, string]} */
const nameChoice = (name) => [name, name];

/**
 * A whole number as it was typed, or undefined. What is no number, or one that JavaScript cannot hold, goes to the server as
 * the text it is: it takes the one and explains the other.
 * @param {Value} value
 */
function parseWhole(value) {
  const text = String(value ?? "").trim();
  return text === "" ? undefined : /^\d{1,15}$/.test(text) ? Number(text) : text;
}
