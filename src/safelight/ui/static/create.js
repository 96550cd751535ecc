// The Create tab around its form fields: recall, prompt explanation, styles and wildcards, the seed's buttons, the Draw button.

import { ApiError, get, post, read, request } from "./core/api.js";
import { dialog } from "./core/dialog.js";
import { button, h, onElementAdded, setChildren } from "./core/dom.js";
import { registerShortcut } from "./core/shortcuts.js";
import { formatNumber, t } from "./core/text.js";
import { showError, toast, withErrorToast } from "./core/toast.js";
import { fillWindow, showPane } from "./panes.js";
import { noDialogOpen } from "./viewer/overlay.js";

/** @typedef {import("./form.js").Form} Form */
/** @typedef {{tokens: number | null, chunks: number | null, per_chunk: number | null, wildcards: string[],
 *   spans: {start: number, end: number, weight: number}[], error: import("./types").ErrorBody | null}} PromptExplanation */

const EXPLAIN_DELAY = 150; // milliseconds after the last key press

/** @param {Form} form @param {import("./core/job_store.js").JobStore} jobStore */
export function mountCreate(form, jobStore) {
  onElementAdded("#sl-create", fillWindow);
  onElementAdded("#sl-form", (root) => {
    root.tabIndex = -1; // so that Tab continues from the form when it has been focused
    form.listenToInputs(root);
  });
  onElementAdded("#sl-form-head", (root) => mountRecall(root, form));
  onElementAdded("#sl-chips", (root) => void mountChips(root, form));
  onElementAdded("#sl-seed", (field) => mountSeedButtons(field, form, jobStore));
  onElementAdded("#sl-draw", (root) => mountDrawBar(root, form, jobStore));
  const fields = /** @type {const} */ ([["prompt", "#sl-prompt", "#sl-prompt-says"], ["negative_prompt", "#sl-negative-prompt", "#sl-negative-says"]]);
  /** @type {Partial<Record<string, (explanation: PromptExplanation) => void>>} */
  const show = {};
  for (const [name, field, noteSelector] of fields) {
    onElementAdded(noteSelector, (root) => (show[name] = (explanation) => showExplanation(root, explanation, name === "prompt")));
    onElementAdded(`${field} textarea`, (area) => {
      const showWeights = weightHighlighter(/** @type {HTMLTextAreaElement} */ (area));
      const showNote = show[name];
      show[name] = (explanation) => (showNote?.(explanation), showWeights(explanation));
    });
  }
  explainOnChange(form, (answer) => {
    show.prompt?.(answer.prompt);
    show.negative_prompt?.(answer.negative_prompt);
  });
}

/**
 * Submit the form as a job, which the stage then shows.
 * @param {Form} form
 * @param {import("./core/job_store.js").JobStore} jobStore
 */
export async function generate(form, jobStore) {
  if (!String(form.values.prompt).trim() && !form.editor?.picture && !form.styles.length) {
    document.querySelector(/** @type {"textarea"} */ ("#sl-prompt textarea"))?.focus();
    return toast(t("create.no_prompt"), { kind: "error" });
  }
  const job = await post("/v1/jobs", await form.request());
  jobStore.add(job);
  showPane("stage");
}

/** @param {HTMLElement} root @param {Form} form */
function mountRecall(root, form) {
  const recall = async (/** @type {BodyInit} */ body, /** @type {string} */ type) =>
    form.recall(await read(await request("POST", "/v1/recall", { body, headers: { "Content-Type": type } })));
  const recallFile = withErrorToast((/** @type {File} */ file) => recall(file, file.type || "application/octet-stream"));
  const recallText = withErrorToast((/** @type {string} */ text) => recall(JSON.stringify({ text }), "application/json"));

  const openRecallDialog = () => {
    const area = h("textarea", { class: "sl-field sl-paste", rows: 8, "aria-label": t("recall.text"), placeholder: t("recall.example") });
    const file = h("input", { type: "file", accept: "image/*", class: "sl-hidden", tabindex: -1, "aria-label": t("recall.file") });
    const box = dialog(
      t("recall.title"),
      h("p", { class: "sl-hint" }, t("recall.says")),
      area,
      h("div", { class: "sl-bar" },
        button({ icon: "upload", label: t("recall.file"), onclick: () => file.click() }),
        button({ icon: "reuse", label: t("recall.fill"), kind: "primary", onclick: () => (box.close(), void recallText(area.value)) }),
      ),
      file,
    );
    file.addEventListener("change", () => file.files?.[0] && (box.close(), void recallFile(file.files[0])));
    area.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || !event.ctrlKey) return;
      event.preventDefault(); // Ctrl+Enter would also submit the form
      box.close();
      void recallText(area.value);
    });
    area.focus();
  };
  setChildren(
    root,
    h("div", { class: "sl-form-head" },
      button({ icon: "reuse", label: t("recall"), onclick: openRecallDialog, id: "sl-recall" }),
      button({ icon: "undo", label: t("create.reset"), onclick: () => form.reset(), kind: "quiet" }),
      h("span", { class: "sl-hint" }, t("recall.drop")),
    ),
  );
  registerShortcut("r", "keys.recall", openRecallDialog, { isActive: noDialogOpen });

  // A picture that is dropped on the form has its parameters recalled.
  const column = /** @type {HTMLElement} */ (root.closest("#sl-form") ?? root);
  column.addEventListener("dragover", (event) => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    column.classList.add("sl-dropping");
  });
  column.addEventListener("dragleave", (event) => !column.contains(/** @type {Node | null} */ (event.relatedTarget)) && column.classList.remove("sl-dropping"));
  column.addEventListener("drop", (event) => {
    column.classList.remove("sl-dropping");
    const file = event.dataTransfer?.files[0];
    if (!file) return;
    event.preventDefault();
    void recallFile(file);
  }, true);
  // An infotext that is pasted into the empty prompt fills the form; any other text is pasted as usual.
  column.addEventListener("paste", (event) => {
    const text = event.clipboardData?.getData("text") ?? "";
    const intoPrompt = event.target instanceof Element && event.target.closest("#sl-prompt");
    if (!intoPrompt || form.values.prompt || !(/(^|\n)Steps: \d+, /.test(text) || isObject(text))) return;
    event.preventDefault();
    const keepAsText = () => form.fill({ prompt: text });
    recall(JSON.stringify({ text }), "application/json").then((filled) => filled || keepAsText(), (error) => (keepAsText(), showError(error)));
  }, true);
}

/** Whether a text is a JSON object; {red|blue} is not, but a prompt. @param {string} text */
function isObject(text) {
  try {
    return typeof JSON.parse(text) === "object";
  } catch {
    return false;
  }
}

/** Toggle buttons for styles, and buttons that insert wildcards into the prompt. @param {HTMLElement} root @param {Form} form */
async function mountChips(root, form) {
  const [{ styles }, { wildcards }] = await Promise.all([get("/v1/styles"), get("/v1/wildcards")]).catch((error) => (showError(error), [{ styles: [] }, { wildcards: [] }]));
  form.setStyles(styles.map((/** @type {{name: string}} */ { name }) => name));
  if (styles.length + wildcards.length === 0) return;
  const styleChips = styles.map((/** @type {{name: string, prompt: string}} */ style) => {
    const chip = h("button", { type: "button", class: "sl-chip", title: style.prompt, onclick: () => {
      form.styles = form.styles.includes(style.name) ? form.styles.filter((name) => name !== style.name) : [...form.styles, style.name];
      form.notifyChange();
    } }, style.name);
    const update = () => chip.setAttribute("aria-pressed", String(form.styles.includes(style.name)));
    form.subscribe(update);
    update();
    return chip;
  });
  const wildcardChips = wildcards.map((/** @type {{name: string, lines: number}} */ { name, lines }) =>
    h("button", { type: "button", class: "sl-chip sl-wild", title: t("create.wildcard", { n: lines }), onclick: () => insertIntoPrompt(form, `__${name}__`) }, `__${name}__`));
  setChildren(
    root,
    styleChips.length > 0 && h("div", { class: "sl-chips", role: "group", "aria-label": t("create.styles") }, h("span", { class: "sl-hint" }, t("create.styles")), styleChips),
    wildcardChips.length > 0 && h("div", { class: "sl-chips", role: "group", "aria-label": t("create.wildcards") }, h("span", { class: "sl-hint" }, t("create.wildcards")), wildcardChips),
  );
}

/** Insert text at the prompt's cursor. @param {Form} form @param {string} text */
function insertIntoPrompt(form, text) {
  const area = document.querySelector(/** @type {"textarea"} */ ("#sl-prompt textarea"));
  const prompt = String(form.values.prompt);
  const [from, to] = area ? [area.selectionStart, area.selectionEnd] : [prompt.length, prompt.length];
  form.fill({ prompt: prompt.slice(0, from) + text + prompt.slice(to) });
}

/** @param {HTMLElement} field @param {Form} form @param {import("./core/job_store.js").JobStore} jobStore */
function mountSeedButtons(field, form, jobStore) {
  const lastSeed = () => jobStore.newestFirst().map((job) => job.result?.pictures?.[0]?.seed ?? job.request.seed).find((seed) => seed !== null && seed !== undefined);
  field.classList.add("sl-with-buttons");
  field.append(
    h("div", { class: "sl-field-buttons" },
      button({ icon: "dice", label: t("create.seed.dice"), iconOnly: true, onclick: () => form.fill({ seed: "" }) }),
      button({ icon: "lock", label: t("create.seed.lock"), iconOnly: true, onclick: () => {
        const seed = lastSeed();
        if (seed === undefined) toast(t("create.seed.none"));
        else form.fill({ seed: String(seed) });
      } }),
    ),
  );
}

/** @param {HTMLElement} root @param {Form} form @param {import("./core/job_store.js").JobStore} jobStore */
function mountDrawBar(root, form, jobStore) {
  const note = h("span", { class: "sl-draw-says", "aria-live": "polite" });
  let busy = false; // not the disabled attribute, which would lose the focus
  const submit = withErrorToast(async () => {
    if (busy) return;
    busy = true;
    drawButton.setAttribute("aria-disabled", "true");
    try {
      await generate(form, jobStore);
    } finally {
      busy = false;
      drawButton.removeAttribute("aria-disabled");
    }
  });
  const drawButton = button({ label: t("create.draw"), kind: "primary", onclick: submit, id: "sl-draw-button", "aria-keyshortcuts": "Control+Enter" });
  const update = () => {
    const unfinished = [...jobStore.jobs.values()].filter((job) => job.state === "queued" || job.state === "running").length;
    note.textContent = unfinished ? t("create.waiting", { n: unfinished }) : "";
  };
  jobStore.subscribe((change) => change.type !== "preview" && update());
  setChildren(root, h("div", { class: "sl-draw-bar" }, drawButton, h("span", { class: "sl-hint sl-wide-only" }, `${t("key.Ctrl")} + ${t("key.Enter")}`), note));
  const isActive = () => noDialogOpen() && root.checkVisibility();
  registerShortcut("Ctrl+Enter", "keys.draw", () => drawButton.click(), { whileTyping: true, isActive });
  registerShortcut("p", "keys.prompt", () => document.querySelector(/** @type {"textarea"} */ ("#sl-prompt textarea"))?.focus(), { isActive });
}

/** Ask the server to explain the prompts whenever they change. @param {Form} form @param {(answer: {prompt: PromptExplanation, negative_prompt: PromptExplanation}) => void} show */
function explainOnChange(form, show) {
  let timer = 0;
  let requested = "";
  form.subscribe(() => {
    const { prompt, negative_prompt, checkpoint, steps } = form.values;
    const json = { prompt, negative_prompt, checkpoint: checkpoint || null, steps };
    if (JSON.stringify(json) === requested) return;
    requested = JSON.stringify(json);
    clearTimeout(timer);
    timer = setTimeout(async () => {
      const request = requested;
      const answer = await post("/v1/prompts/explain", json).catch(explanationOfError);
      if (answer && request === requested) show(answer);
    }, EXPLAIN_DELAY);
  });
}

/** An error in place of the explanation; null if the server could not be reached, so that the old counts stay. @param {unknown} error */
function explanationOfError(error) {
  if (!(error instanceof ApiError) || error.status === 0) return null;
  const explanation = { tokens: null, chunks: null, per_chunk: null, wildcards: [], spans: [], error: { code: error.code, message: error.message } };
  return { prompt: explanation, negative_prompt: { ...explanation, error: null } };
}

/** @param {HTMLElement} root @param {PromptExplanation} explanation @param {boolean} showZero  whether to show a count of 0 tokens */
function showExplanation(root, { tokens, chunks, per_chunk, wildcards, error }, showZero) {
  root.classList.toggle("sl-bad", !!error);
  if (error) return setChildren(root, h("p", { class: "sl-prompt-says" }, error.message));
  const capacity = per_chunk && chunks ? per_chunk * chunks : null;
  const count = tokens === null || (!tokens && !showZero) ? "" : t(capacity ? "create.tokens.of" : "create.tokens", { n: tokens, room: capacity ?? 0 });
  const chunkNote = chunks && chunks > 1 ? t("create.chunks", { n: chunks }) : "";
  const wildcardNote = wildcards.length ? t("create.wild", { names: wildcards.map((name) => `__${name}__`).join(", ") }) : "";
  setChildren(root, h("p", { class: "sl-prompt-says" }, [count, chunkNote, wildcardNote].filter(Boolean).join(" · ")));
}

/**
 * Highlights behind a text area's words for their weight: warm for more than 1, cool for less.
 * @param {HTMLTextAreaElement} area
 * @returns {(explanation: PromptExplanation) => void}
 */
function weightHighlighter(area) {
  const backdrop = h("div", { class: "sl-marks", "aria-hidden": "true" });
  area.parentElement?.classList.add("sl-marked");
  area.before(backdrop);
  const alignBackdrop = () => {
    backdrop.style.top = `${area.offsetTop}px`;
    backdrop.style.left = `${area.offsetLeft}px`;
    backdrop.style.width = `${area.clientWidth}px`;
    backdrop.style.height = `${area.clientHeight}px`;
    backdrop.scrollTop = area.scrollTop;
  };
  const style = getComputedStyle(area);
  for (const name of /** @type {const} */ (["font", "letterSpacing", "padding", "lineHeight"])) backdrop.style[name] = style[name];
  area.addEventListener("scroll", alignBackdrop);
  area.addEventListener("input", () => backdrop.replaceChildren()); // old highlights would no longer line up with the words
  new ResizeObserver(alignBackdrop).observe(area);
  return ({ spans }) => {
    const text = area.value;
    /** @type {(Node | string)[]} */
    const parts = [];
    let position = 0;
    for (const { start, end, weight } of [...spans].sort((one, other) => one.start - other.start)) {
      if (start < position) continue;
      const strength = Math.min(1, Math.abs(Math.log2(Math.max(weight, 0.05))));
      parts.push(text.slice(position, start), h("mark", { class: weight > 1 ? "sl-more" : "sl-less", style: `--strength: ${Math.round(20 + strength * 45)}%`, title: formatNumber(weight) }, text.slice(start, end)));
      position = end;
    }
    backdrop.replaceChildren(...parts, text.slice(position), "\n");
    alignBackdrop();
  };
}
