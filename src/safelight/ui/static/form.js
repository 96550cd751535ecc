// The form of Create: what its Gradio fields hold, how they are filled in, and the request that comes of them.

import { base64 } from "./core/api.js";
import { appears } from "./core/dom.js";
import { t } from "./core/text.js";
import { toast } from "./core/toast.js";

/** @typedef {import("./types").Fields} Fields */
/** @typedef {import("./types").Model} Model */
/** @typedef {string | number | boolean | null} Value */

const KEPT = "safelight.form";
/** What every field holds until somebody changes it; sizes, steps and guidance are the checkpoint's. @type {Record<string, Value>} */
const PLAIN = {
  prompt: "", negative_prompt: "", width: 512, height: 512, steps: 20, guidance_scale: 5, sampler: "", checkpoint: "", seed: "", count: 1,
  strength: 0.6, "inpaint.fill": "original", "inpaint.padding": 32, "inpaint.only_masked": false,
  "hires.on": false, "hires.scale": 2, "hires.strength": 0.6, "hires.upscaler": "latent", "hires.steps": 0,
  schedule: "", clip_skip: 1, guidance_rescale: 0, guidance_method: "cfg", guidance_start: 0, guidance_end: 1, pag_scale: 0, eta: "",
  "variation.seed": "", "variation.strength": 0,
};
const FOLDS = { edit: ["strength", "inpaint."], hires: ["hires."], fine: ["schedule", "clip_skip", "guidance_rescale", "guidance_method", "guidance_start", "guidance_end", "pag_scale", "eta", "variation."] };

export class Form {
  /** What the fields hold. @type {Record<string, Value>} */
  values = { ...PLAIN };
  /** Names of the styles that are on. @type {string[]} */
  styles = [];
  /** What dropdowns offer; null: what they were made with. @type {Record<string, [string, string][] | null>} */
  #choices = {};
  /** @type {Record<string, Value>} */
  #pending = {};
  #filled = false;
  /** @type {Set<() => void>} */
  #listeners = new Set();
  /** @type {Promise<import("./editor.js").Editor>} */
  #editor;
  /** Whether the fields have been filled in for the first time. */
  get ready() {
    return this.#filled;
  }

  /** Checkpoints by id. @type {Map<string, Model>} */
  checkpoints = new Map();

  /** @param {Promise<import("./editor.js").Editor>} editor  There once its fold has been opened. */
  constructor(editor) {
    this.#editor = editor;
    /** @type {import("./editor.js").Editor | null} */
    this.editor = null;
    editor.then((made) => (this.editor = made));
    const kept = JSON.parse(localStorage.getItem(KEPT) ?? "{}");
    this.styles = kept.styles ?? [];
    this.kept = /** @type {Record<string, Value> | null} */ (kept.values ?? null);
  }

  /** @param {() => void} listener  Told of every change. */
  listen(listener) {
    this.#listeners.add(listener);
  }

  /** Called by Gradio with all fields when one has changed. @param {string[]} names @param {Value[]} values */
  changed(names, values) {
    if (!this.#filled) return; // what Gradio begins with is nobody's choice
    const before = this.values.checkpoint;
    names.forEach((name, place) => (this.values[name] = values[place] ?? PLAIN[name] ?? null));
    if (this.values.checkpoint !== before) this.#suit(String(this.values.checkpoint));
    this.#tell();
  }

  /** Called by Gradio when its fields are to be filled in. @param {string[]} names @returns {unknown[]} */
  filling(names) {
    this.#filled = true;
    Object.assign(this.values, this.#pending);
    this.#pending = {};
    return names.map((name) => {
      const choices = this.#choices[name];
      const value = this.values[name];
      return choices ? { __type__: "update", choices, value } : { __type__: "update", value };
    });
  }

  /** Put values into fields. @param {Record<string, Value>} values */
  fill(values) {
    Object.assign(this.#pending, values);
    Object.assign(this.values, values);
    document.querySelector(/** @type {"button"} */ ("#sl-fill"))?.click();
    this.#tell();
  }

  /** All as it is for a new picture, with the prompt kept or not. @param {{prompt: boolean}} keep */
  reset({ prompt }) {
    this.styles = [];
    this.editor?.setPicture(null);
    const { checkpoint, prompt: words, negative_prompt } = this.values;
    const kept = prompt ? { checkpoint, prompt: words, negative_prompt } : { checkpoint };
    this.fill(Object.assign({}, PLAIN, this.#usual(String(checkpoint)), kept));
  }

  /** Offer these checkpoints. @param {Model[]} models */
  offer(models) {
    const checkpoints = models.filter((model) => model.kind === "checkpoint");
    this.checkpoints = new Map(checkpoints.map((model) => [model.id, model]));
    const usual = checkpoints.find((model) => model.default);
    this.#choices.checkpoint = [[t("create.checkpoint.usual", { name: usual?.id ?? "" }), ""], ...checkpoints.filter((model) => !model.default).map(same)];
    this.#choices["hires.upscaler"] = [[t("create.hires.latent"), "latent"], ...models.filter((model) => model.kind === "upscaler").map(same)];
  }

  /** Offer these samplers and schedules; empty is the checkpoint's own. @param {string[]} samplers @param {string[]} schedules */
  offerSamplers(samplers, schedules) {
    this.#choices.sampler = [[t("create.sampler.usual"), ""], ...samplers.map(named)];
    this.#choices.schedule = [[t("create.schedule.usual"), ""], ...schedules.map(named)];
  }

  /** Fill in what the last visit left, or what suits the checkpoint. */
  begin() {
    const kept = this.kept ?? {};
    const checkpoint = this.checkpoints.has(String(kept.checkpoint)) ? String(kept.checkpoint) : "";
    this.fill({ ...PLAIN, ...this.#usual(checkpoint), ...kept, checkpoint });
  }

  /** The checkpoint that would draw. @returns {Model | undefined} */
  get checkpoint() {
    const chosen = this.checkpoints.get(String(this.values.checkpoint));
    return chosen ?? [...this.checkpoints.values()].find((model) => model.default);
  }

  /**
   * Take over what a picture or a text says of itself.
   * @param {import("./types").Recalled} recalled
   */
  recall({ source, fields, unfilled }) {
    if (source === "none") return toast(t("recall.nothing"), { kind: "error", hint: t("recall.nothing.hint") });
    const { variation, inpaint, hires, styles = [], ...plain } = fields;
    const nested = { ...prefixed("variation", variation), ...prefixed("inpaint", inpaint), ...prefixed("hires", hires) };
    const checkpoint = this.checkpoints.get(plain.checkpoint)?.default ? "" : (plain.checkpoint ?? "");
    this.editor?.setPicture(null);
    this.styles = styles;
    const values = { ...PLAIN, ...this.#usual(checkpoint), ...plain, ...nested, checkpoint, "hires.on": !!hires };
    const known = Object.fromEntries(Object.entries(values).filter(([name]) => name in PLAIN));
    for (const name of ["seed", "eta", "variation.seed"]) known[name] = known[name] === null ? "" : String(known[name]);
    this.fill(known);
    for (const [fold, names] of Object.entries(FOLDS)) {
      const given = [...Object.keys(plain), ...Object.keys(nested)];
      if (given.some((name) => names.some((each) => name.startsWith(each)) && known[name] !== PLAIN[name])) void this.open(/** @type {keyof typeof FOLDS} */ (fold));
    }
    if (unfilled.length === 0) return toast(t("recall.all"));
    toast(t("recall.some", { n: unfilled.length }), {
      kind: "error", stays: 20000,
      hint: unfilled.map(({ name, value, reason }) => `${name}${value ? `: ${value}` : ""} (${reason})`).join(" · "),
    });
  }

  /** Put a picture into the editor. @param {Blob} blob */
  async edit(blob) {
    await this.open("edit");
    const editor = await this.#editor;
    await editor.setPicture(blob);
    const { width, height } = editor.size ?? {};
    if (width && height) this.fill(fitting(width, height, this.checkpoint?.draws));
    document.querySelector("#sl-fold-edit")?.scrollIntoView({ block: "nearest", behavior: "smooth" });
  }

  /** Open one of the folds. @param {keyof typeof FOLDS} fold */
  async open(fold) {
    const bar = await appears(`#sl-fold-${fold} > button`);
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
      seed: whole(v.seed),
      count: v.count,
      clip_skip: v.clip_skip === 1 ? undefined : v.clip_skip,
      guidance_rescale: v.guidance_rescale || undefined,
      guidance_method: v.guidance_method === "cfg" ? undefined : v.guidance_method,
      guidance_start: v.guidance_start || undefined,
      guidance_end: v.guidance_end === 1 ? undefined : v.guidance_end,
      pag_scale: v.pag_scale || undefined,
      eta: v.eta === "" ? undefined : v.eta,
      variation: v["variation.strength"]
        ? { seed: whole(v["variation.seed"]) ?? Math.floor(Math.random() * 2 ** 32), strength: v["variation.strength"] }
        : undefined,
      hires: v["hires.on"]
        ? { scale: v["hires.scale"], strength: v["hires.strength"], upscaler: v["hires.upscaler"], steps: v["hires.steps"] || undefined }
        : undefined,
    };
    if (!editor) return given;
    const around = { padding: v["inpaint.padding"], only_masked: v["inpaint.only_masked"], fill: v["inpaint.fill"], blur: editor.blur };
    return {
      ...given,
      init_image: await base64(/** @type {Blob} */ (editor.picture)),
      strength: v.strength,
      ...(mask ? { mask: await base64(mask), inpaint: around } : {}),
      ...(editor.outpaint ? { outpaint: editor.outpaint, inpaint: { ...around, only_masked: false } } : {}),
    };
  }

  /** What a checkpoint draws with when nobody says otherwise. @param {string} checkpoint @returns {Record<string, Value>} */
  #usual(checkpoint) {
    const model = this.checkpoints.get(checkpoint) ?? [...this.checkpoints.values()].find((each) => each.default);
    const draws = model?.draws;
    return draws ? { width: draws.width, height: draws.height, steps: draws.steps, guidance_scale: draws.guidance_scale } : {};
  }

  /** Another checkpoint draws at other sizes: go along. @param {string} checkpoint */
  #suit(checkpoint) {
    this.fill({ ...this.#usual(checkpoint), sampler: "", schedule: "" });
  }

  #tell() {
    localStorage.setItem(KEPT, JSON.stringify({ values: this.values, styles: this.styles }));
    for (const listener of this.#listeners) listener();
  }
}

/** A size with a picture's shape that the checkpoint can draw. @param {number} width @param {number} height @param {import("./types").Draws | null} [draws] */
export function fitting(width, height, draws) {
  const step = draws?.size_multiple ?? 8;
  const scale = Math.min(1, Math.sqrt(((draws?.width ?? 512) * (draws?.height ?? 512) * 1.5) / (width * height)));
  const round = (/** @type {number} */ side) => Math.max(64, Math.round((side * scale) / step) * step);
  return { width: round(width), height: round(height) };
}

/** @param {string} name @param {Fields | null | undefined} part */
const prefixed = (name, part) => Object.fromEntries(Object.entries(part ?? {}).map(([key, value]) => [`${name}.${key}`, value]));
/** @param {Model} model @returns {[string, string]} */
const same = (model) => [model.id, model.id];
/** @param {string} name @returns {[string, string]} */
const named = (name) => [name, name];

/**
 * A whole number as it was typed, or undefined. What is no number, or one that JavaScript cannot hold, goes to the server as
 * the text it is: it takes the one and explains the other.
 * @param {Value} value
 */
function whole(value) {
  const text = String(value ?? "").trim();
  return text === "" ? undefined : /^\d{1,15}$/.test(text) ? Number(text) : text;
}
