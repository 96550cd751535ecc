// Create: what stands around the form's fields: recall, prompt reading, styles and wildcards, the seed's buttons, Draw.

import { cardOf } from "./cards.js";
import { ApiError, get, post, read, request } from "./core/api.js";
import { button, fill, h, whenever } from "./core/dom.js";
import { dialog, shortcut } from "./core/keys.js";
import { reveal } from "./core/scroll.js";
import { number, t } from "./core/text.js";
import { complain, toast, watched } from "./core/toast.js";
import { nothingOver } from "./viewer/overlay.js";

/** @typedef {import("./form.js").Form} Form */
/** @typedef {{tokens: number | null, chunks: number | null, per_chunk: number | null, wildcards: string[],
 *   spans: {start: number, end: number, weight: number}[], error: import("./types").Failure | null}} Reading */

const TOUCH = matchMedia("(hover: none)");
const READ_AFTER = 150; // milliseconds without a key

/** @param {Form} form @param {import("./core/live.js").Live} live */
export function mountCreate(form, live) {
  whenever("#sl-form", (root) => {
    root.tabIndex = -1; // who is led to it goes on from there with Tab
    form.listenTo(root);
  });
  whenever("#sl-form-head", (root) => formHead(root, form));
  whenever("#sl-chips", (root) => void chips(root, form));
  whenever("#sl-seed", (field) => seedButtons(field, form, live));
  whenever("#sl-draw", (root) => drawBar(root, form, live));
  const readings = /** @type {const} */ ([["prompt", "#sl-prompt", "#sl-prompt-says"], ["negative_prompt", "#sl-negative-prompt", "#sl-negative-says"]]);
  /** @type {Partial<Record<string, (reading: Reading) => void>>} */
  const show = {};
  for (const [name, field, says] of readings) {
    whenever(says, (root) => (show[name] = (reading) => tell(root, reading, name === "prompt")));
    whenever(`${field} textarea`, (area) => {
      const marks = highlighter(/** @type {HTMLTextAreaElement} */ (area));
      const shown = show[name];
      show[name] = (reading) => (shown?.(reading), marks(reading));
    });
  }
  keepReading(form, (answer) => {
    show.prompt?.(answer.prompt);
    show.negative_prompt?.(answer.negative_prompt);
  });
}

/**
 * Queue what the form asks for, and bring its card into view.
 * @param {Form} form
 * @param {import("./core/live.js").Live} live
 */
export async function draw(form, live) {
  if (!String(form.values.prompt).trim() && !form.editor?.picture && !form.styles.length) {
    document.querySelector(/** @type {"textarea"} */ ("#sl-prompt textarea"))?.focus();
    return toast(t("create.no_prompt"), { kind: "error" });
  }
  const job = await post("/v1/jobs", await form.request());
  live.add(job);
  const card = cardOf(job.id);
  if (!card) return;
  const { activeElement } = document;
  if (TOUCH.matches && activeElement instanceof HTMLTextAreaElement) activeElement.blur(); // the keyboard would cover it
  void reveal(card);
}

/** @param {HTMLElement} root @param {Form} form */
function formHead(root, form) {
  const take = async (/** @type {BodyInit} */ body, /** @type {string} */ type) =>
    form.recall(await read(await request("POST", "/v1/recall", { body, headers: { "Content-Type": type } })));
  const takeFile = watched((/** @type {File} */ file) => take(file, file.type || "application/octet-stream"));
  const takeText = watched((/** @type {string} */ text) => take(JSON.stringify({ text }), "application/json"));

  const paste = () => {
    const area = h("textarea", { class: "sl-field sl-paste", rows: 8, "aria-label": t("recall.text"), placeholder: t("recall.example") });
    const file = h("input", { type: "file", accept: "image/*", class: "sl-hidden", tabindex: -1, "aria-label": t("recall.file") });
    const box = dialog(
      t("recall.title"),
      h("p", { class: "sl-hint" }, t("recall.says")),
      area,
      h("div", { class: "sl-bar" },
        button({ icon: "upload", label: t("recall.file"), onclick: () => file.click() }),
        button({ icon: "reuse", label: t("recall.fill"), kind: "primary", onclick: () => (box.close(), void takeText(area.value)) }),
      ),
      file,
    );
    file.addEventListener("change", () => file.files?.[0] && (box.close(), void takeFile(file.files[0])));
    area.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || !event.ctrlKey) return;
      event.preventDefault(); // it would draw as well
      box.close();
      void takeText(area.value);
    });
    area.focus();
  };
  fill(
    root,
    h("div", { class: "sl-form-head" },
      button({ icon: "reuse", label: t("recall"), onclick: paste, id: "sl-recall" }),
      button({ icon: "undo", label: t("create.reset"), onclick: () => form.reset(), kind: "quiet" }),
      h("span", { class: "sl-hint" }, t("recall.drop")),
    ),
  );
  shortcut("r", "keys.recall", paste, { when: nothingOver });

  // A picture that is dropped on the form, but not on the editor, is asked what it was made with.
  const form_ = /** @type {HTMLElement} */ (root.closest("#sl-form") ?? root);
  const isEditors = (/** @type {DragEvent} */ event) => event.target instanceof Element && event.target.closest("#sl-editor");
  form_.addEventListener("dragover", (event) => {
    if (isEditors(event) || !event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    form_.classList.add("sl-dropping");
  });
  form_.addEventListener("dragleave", (event) => !form_.contains(/** @type {Node | null} */ (event.relatedTarget)) && form_.classList.remove("sl-dropping"));
  form_.addEventListener("drop", (event) => {
    form_.classList.remove("sl-dropping");
    const file = event.dataTransfer?.files[0];
    if (isEditors(event) || !file) return;
    event.preventDefault();
    void takeFile(file);
  }, true);
  // An infotext that is pasted into the empty prompt fills the form; any other text is just text.
  form_.addEventListener("paste", (event) => {
    const text = event.clipboardData?.getData("text") ?? "";
    const intoPrompt = event.target instanceof Element && event.target.closest("#sl-prompt");
    if (!intoPrompt || form.values.prompt || !(/(^|\n)Steps: \d+, /.test(text) || isObject(text))) return;
    event.preventDefault();
    const asText = () => form.fill({ prompt: text });
    take(JSON.stringify({ text }), "application/json").then((found) => found || asText(), (error) => (asText(), complain(error)));
  }, true);
}

/** Whether a text is JSON of an object; {red|blue} is a prompt. @param {string} text */
function isObject(text) {
  try {
    return typeof JSON.parse(text) === "object";
  } catch {
    return false;
  }
}

/** Styles that are switched on and off, and wildcards that are put into the prompt. @param {HTMLElement} root @param {Form} form */
async function chips(root, form) {
  const [{ styles }, { wildcards }] = await Promise.all([get("/v1/styles"), get("/v1/wildcards")]).catch((error) => (complain(error), [{ styles: [] }, { wildcards: [] }]));
  form.offerStyles(styles.map((/** @type {{name: string}} */ { name }) => name));
  if (styles.length + wildcards.length === 0) return;
  const styleChips = styles.map((/** @type {{name: string, prompt: string}} */ style) => {
    const chip = h("button", { type: "button", class: "sl-chip", title: style.prompt, onclick: () => {
      form.styles = form.styles.includes(style.name) ? form.styles.filter((name) => name !== style.name) : [...form.styles, style.name];
      form.touch();
    } }, style.name);
    const update = () => chip.setAttribute("aria-pressed", String(form.styles.includes(style.name)));
    form.listen(update);
    update();
    return chip;
  });
  const wildChips = wildcards.map((/** @type {{name: string, lines: number}} */ { name, lines }) =>
    h("button", { type: "button", class: "sl-chip sl-wild", title: t("create.wildcard", { n: lines }), onclick: () => insert(form, `__${name}__`) }, `__${name}__`));
  fill(
    root,
    styleChips.length > 0 && h("div", { class: "sl-chips", role: "group", "aria-label": t("create.styles") }, h("span", { class: "sl-hint" }, t("create.styles")), styleChips),
    wildChips.length > 0 && h("div", { class: "sl-chips", role: "group", "aria-label": t("create.wildcards") }, h("span", { class: "sl-hint" }, t("create.wildcards")), wildChips),
  );
}

/** Put words where the prompt's cursor is. @param {Form} form @param {string} words */
function insert(form, words) {
  const area = document.querySelector(/** @type {"textarea"} */ ("#sl-prompt textarea"));
  const prompt = String(form.values.prompt);
  const [from, to] = area ? [area.selectionStart, area.selectionEnd] : [prompt.length, prompt.length];
  form.fill({ prompt: prompt.slice(0, from) + words + prompt.slice(to) });
}

/** @param {HTMLElement} field @param {Form} form @param {import("./core/live.js").Live} live */
function seedButtons(field, form, live) {
  const last = () => live.newest().map((job) => job.result?.pictures?.[0]?.seed ?? job.request.seed).find((seed) => seed !== null && seed !== undefined);
  field.classList.add("sl-with-buttons");
  field.append(
    h("div", { class: "sl-field-buttons" },
      button({ icon: "dice", label: t("create.seed.dice"), bare: true, onclick: () => form.fill({ seed: "" }) }),
      button({ icon: "lock", label: t("create.seed.lock"), bare: true, onclick: () => {
        const seed = last();
        if (seed === undefined) toast(t("create.seed.none"));
        else form.fill({ seed: String(seed) });
      } }),
    ),
  );
}

/** @param {HTMLElement} root @param {Form} form @param {import("./core/live.js").Live} live */
function drawBar(root, form, live) {
  const says = h("span", { class: "sl-draw-says", "aria-live": "polite" });
  let busy = false; // instead of disabling the button, which would take the focus away
  const go = watched(async () => {
    if (busy) return;
    busy = true;
    press.setAttribute("aria-disabled", "true");
    try {
      await draw(form, live);
    } finally {
      busy = false;
      press.removeAttribute("aria-disabled");
    }
  });
  const press = button({ label: t("create.draw"), kind: "primary", onclick: go, id: "sl-draw-button", "aria-keyshortcuts": "Control+Enter" });
  const update = () => {
    const waiting = [...live.jobs.values()].filter((job) => job.state === "queued" || job.state === "running").length;
    says.textContent = waiting ? t("create.waiting", { n: waiting }) : "";
  };
  live.listen((change) => change.type !== "preview" && update());
  fill(root, h("div", { class: "sl-draw-bar" }, press, h("span", { class: "sl-hint sl-wide-only" }, `${t("key.Ctrl")} + ${t("key.Enter")}`), says));
  const isShown = () => nothingOver() && root.checkVisibility();
  shortcut("Ctrl+Enter", "keys.draw", () => press.click(), { typing: true, when: isShown });
  shortcut("p", "keys.prompt", () => document.querySelector(/** @type {"textarea"} */ ("#sl-prompt textarea"))?.focus(), { when: isShown });
}

/** Have the prompts read by the server whenever they have changed. @param {Form} form @param {(answer: {prompt: Reading, negative_prompt: Reading}) => void} show */
function keepReading(form, show) {
  let timer = 0;
  let asked = "";
  form.listen(() => {
    const { prompt, negative_prompt, checkpoint, steps } = form.values;
    const json = { prompt, negative_prompt, checkpoint: checkpoint || null, steps };
    if (JSON.stringify(json) === asked) return;
    asked = JSON.stringify(json);
    clearTimeout(timer);
    timer = setTimeout(async () => {
      const question = asked;
      const answer = await post("/v1/prompts/explain", json).catch(refused);
      if (answer && question === asked) show(answer);
    }, READ_AFTER);
  });
}

/** A refusal in the place of what would have been read; while the server is away, the old counts stay. @param {unknown} error */
function refused(error) {
  if (!(error instanceof ApiError) || error.status === 0) return null;
  const reading = { tokens: null, chunks: null, per_chunk: null, wildcards: [], spans: [], error: { code: error.code, message: error.message } };
  return { prompt: reading, negative_prompt: { ...reading, error: null } };
}

/** @param {HTMLElement} root @param {Reading} reading @param {boolean} always  Whether to tell of an empty text, too. */
function tell(root, { tokens, chunks, per_chunk, wildcards, error }, always) {
  root.classList.toggle("sl-bad", !!error);
  if (error) return fill(root, h("p", { class: "sl-prompt-says" }, error.message));
  const room = per_chunk && chunks ? per_chunk * chunks : null;
  const count = tokens === null || (!tokens && !always) ? "" : t(room ? "create.tokens.of" : "create.tokens", { n: tokens, room: room ?? 0 });
  const more = chunks && chunks > 1 ? t("create.chunks", { n: chunks }) : "";
  const wild = wildcards.length ? t("create.wild", { names: wildcards.map((name) => `__${name}__`).join(", ") }) : "";
  fill(root, h("p", { class: "sl-prompt-says" }, [count, more, wild].filter(Boolean).join(" · ")));
}

/**
 * Marks behind a text area's words that show their weight: warm for more, cool for less.
 * @param {HTMLTextAreaElement} area
 * @returns {(reading: Reading) => void}
 */
function highlighter(area) {
  const back = h("div", { class: "sl-marks", "aria-hidden": "true" });
  area.parentElement?.classList.add("sl-marked");
  area.before(back);
  const align = () => {
    back.style.top = `${area.offsetTop}px`;
    back.style.left = `${area.offsetLeft}px`;
    back.style.width = `${area.clientWidth}px`;
    back.style.height = `${area.clientHeight}px`;
    back.scrollTop = area.scrollTop;
  };
  const look = getComputedStyle(area);
  for (const name of /** @type {const} */ (["font", "letterSpacing", "padding", "lineHeight"])) back.style[name] = look[name];
  area.addEventListener("scroll", align);
  area.addEventListener("input", () => back.replaceChildren()); // old marks would lie beside the words
  new ResizeObserver(align).observe(area);
  return ({ spans }) => {
    const text = area.value;
    /** @type {(Node | string)[]} */
    const parts = [];
    let at = 0;
    for (const { start, end, weight } of [...spans].sort((one, other) => one.start - other.start)) {
      if (start < at) continue;
      const strength = Math.min(1, Math.abs(Math.log2(Math.max(weight, 0.05))));
      parts.push(text.slice(at, start), h("mark", { class: weight > 1 ? "sl-more" : "sl-less", style: `--strength: ${Math.round(20 + strength * 45)}%`, title: number(weight) }, text.slice(start, end)));
      at = end;
    }
    back.replaceChildren(...parts, text.slice(at), "\n");
    align();
  };
}
