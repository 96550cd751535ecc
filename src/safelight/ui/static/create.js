// The Create tab around its form fields: recall, prompts and their history, styles and wildcards, the seed's buttons, the Draw button.

import { keepInputs } from "./actions/inputs.js";
import { ApiError, get, post, read, request } from "./core/api.js";
import { button, h, onElementAdded, setChildren, waitForElement } from "./core/dom.js";
import { isFinished } from "./core/job_store.js";
import { registerEntries } from "./core/palette.js";
import { whenVisible } from "./core/scroll.js";
import { registerShortcut } from "./core/shortcuts.js";
import { t } from "./core/text.js";
import { keepUncovered, showError, toast, withErrorToast } from "./core/toast.js";
import { registerHelpKey } from "./form/help.js";
import { PromptHistory } from "./form/history.js";
import { listField } from "./form/list_field.js";
import { place } from "./form/popup.js";
import { FormView } from "./form/view.js";
import { fillWindow, showPane } from "./panes.js";
import { noDialogOpen } from "./viewer/overlay.js";

/** @typedef {import("./form.js").Form} Form */
/** @typedef {import("./core/job_store.js").JobStore} JobStore */
/** @typedef {import("./form/prompt_field.js").PromptExplanation} PromptExplanation */

const EXPLAIN_DELAY = 150; // milliseconds after the last key press
const WEIGHT_STEP = 0.1;

/** @param {Form} form @param {JobStore} jobStore @param {(name: string) => unknown} showTab @param {import("./types").Session} me */
export function mountCreate(form, jobStore, showTab, me) {
  onElementAdded("#sl-create", fillWindow);
  onElementAdded("#sl-form", (root) => (root.tabIndex = -1)); // so that Tab continues from the form when it has been focused
  onElementAdded("#sl-form-fields", (root) => {
    const view = new FormView(root, form);
    const history = new PromptHistory();
    mountHead(root, view, form, history);
    void mountChips(view, form);
    mountNetworksButton(view, form, jobStore, me);
    mountReferences(view, form);
    mountSeedButtons(view, form, jobStore);
    mountDrawBar(view, form, jobStore, history);
    view.folds.get("control")?.whenOpen(() => view.setPanel("control", import("./control.js").then(({ ControlPanel }) => new ControlPanel(view.controlRoot, form, jobStore))));
    registerPromptKeys(view, form, history);
    registerHelpKey();
    view.folds.get("regions")?.whenOpen(() => view.setPanel("regions", import("./regions.js").then(({ RegionsPanel }) => new RegionsPanel(view.regionsRoot, form))));
    const showField = async (/** @type {string} */ name) => {
      void showTab("create");
      showPane("form");
      await whenVisible(root);
      view.show(name);
    };
    registerEntries(() => view.entries.map(({ key, aliases, name }) => ({ key, aliases, group: t("palette.fields"), run: () => showField(name) })));
    explainOnChange(form, (answer) => {
      view.prompts.prompt.explain(answer.prompt);
      view.prompts.negative_prompt.explain(answer.negative_prompt);
    });
    form.attach(view);
  });
}

/**
 * Submit the form as a job, which the stage then shows; where a field's value is refused, it is shown there.
 * @param {Form} form
 * @param {JobStore} jobStore
 * @returns {Promise<boolean>}  whether there is a job now
 */
export async function generate(form, jobStore) {
  const isEmpty = !String(form.values.prompt).trim() && !form.editor?.picture && !form.styles.length;
  const problems = isEmpty ? [{ field: "prompt", code: "page.no_prompt", message: t("create.no_prompt") }] : form.check();
  if (problems.length) return form.refuse({ code: problems[0].code, message: "", problems }), false;
  form.refuse({ code: "", message: "", problems: [] });
  const values = { ...form.values };
  const lists = form.lists;
  try {
    const request = await form.request();
    const job = await post("/v1/jobs", request);
    void keepInputs(job, request);
    refuseWhenFailed(form, jobStore, job.id, { values, lists });
    jobStore.add(job);
    showPane("stage");
    return true;
  } catch (error) {
    if (!(error instanceof ApiError) || !form.refuse(error)) throw error;
    return false;
  }
}

/** Show at its field why a job failed, if the field still has the value. @param {Form} form @param {JobStore} jobStore @param {string} id @param {{values: Form["values"], lists: Form["lists"]}} then  what the form had at that time */
function refuseWhenFailed(form, jobStore, id, { values, lists }) {
  const stop = jobStore.subscribe((change) => {
    if (change.type !== "job" || change.job.id !== id || !isFinished(change.job)) return;
    stop();
    const { error } = change.job;
    if (!error?.field) return;
    const about = listField(error.field);
    const isSame = about ? form.lists[about.list] === lists[about.list] : form.values[error.field] === values[error.field];
    if (isSame) form.refuse(error);
  });
}

/** The buttons above the prompt, and recall by drop and paste. @param {HTMLElement} root @param {FormView} view @param {Form} form @param {PromptHistory} history */
function mountHead(root, view, form, history) {
  const recall = async (/** @type {BodyInit} */ body, /** @type {string} */ type) =>
    form.recall(await read(await request("POST", "/v1/recall", { body, headers: { "Content-Type": type } })));
  const recallText = withErrorToast((/** @type {string} */ text) => recall(JSON.stringify({ text }), "application/json"));
  const recallFile = withErrorToast(async (/** @type {File} */ file) => {
    if (/^text\/|json$/.test(file.type)) return recallText(await file.text());
    if (file.type && !file.type.startsWith("image/")) return toast(t("recall.not_picture", { name: file.name }), { kind: "error" });
    await recall(file, file.type || "application/octet-stream");
  });

  const openDialog = withErrorToast(async () => (await import("./form/recall_dialog.js")).openRecallDialog({ ontext: recallText, onfile: recallFile }));
  view.prompts.prompt.frame.head.append(
    h("div", { class: "sl-form-head" },
      button({ icon: "reuse", label: t("recall"), onclick: openDialog, id: "sl-recall", title: t("recall.drop") }),
      historyButton(form, history),
      button({ icon: "undo", label: t("create.reset"), iconOnly: true, onclick: () => form.reset() }),
    ),
  );
  registerShortcut("r", "keys.recall", openDialog, { isActive: noDialogOpen, aliases: ["PNG info", t("recall.text")] });

  // A picture that is dropped on the form has its parameters recalled.
  const column = /** @type {HTMLElement} */ (root.closest("#sl-form") ?? root);
  const takesFiles = (/** @type {Event} */ { target }) => target instanceof Element && !!target.closest(".sl-unit-picture, .sl-takes-files"); // which takes pictures itself
  column.addEventListener("dragover", (event) => {
    if (!event.dataTransfer?.types.includes("Files") || takesFiles(event)) return column.classList.remove("sl-dropping");
    event.preventDefault();
    column.classList.add("sl-dropping");
  });
  column.addEventListener("dragleave", (event) => !column.contains(/** @type {Node | null} */ (event.relatedTarget)) && column.classList.remove("sl-dropping"));
  column.addEventListener("drop", (event) => {
    column.classList.remove("sl-dropping");
    const file = event.dataTransfer?.files[0];
    if (!file || takesFiles(event)) return;
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

/** Toggle buttons for styles, and buttons that insert wildcards into the prompt. @param {FormView} view @param {Form} form */
async function mountChips(view, form) {
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
    h("button", { type: "button", class: "sl-chip sl-wild", title: t("create.wildcard", { n: lines }), onclick: () => view.prompts.prompt.insert(`__${name}__`) }, `__${name}__`));
  setChildren(
    view.chips,
    styleChips.length > 0 && h("div", { class: "sl-chips", role: "group", "aria-label": t("create.styles") }, h("span", { class: "sl-hint" }, t("create.styles")), styleChips),
    wildcardChips.length > 0 && h("div", { class: "sl-chips", role: "group", "aria-label": t("create.wildcards") }, h("span", { class: "sl-hint" }, t("create.wildcards")), wildcardChips),
  );
}

/** The button of the networks browser, whose script is loaded at its first use. @param {FormView} view @param {Form} form @param {JobStore} jobStore @param {import("./types").Session} me */
function mountNetworksButton(view, form, jobStore, me) {
  /** @type {Promise<import("./networks.js").Networks> | null} */
  let loading = null;
  const load = async () => {
    const [{ Networks }, stage] = await Promise.all([import("./networks.js"), waitForElement("#sl-stage")]);
    return new Networks(stage, { form, view, jobStore, isAdmin: me.role === "admin" });
  };
  const toggle = withErrorToast(async () => {
    loading ??= load().catch((error) => ((loading = null), Promise.reject(error)));
    const networks = await loading;
    if (networks.isOpen) networks.close();
    else await networks.open();
  });
  view.prompts.negative_prompt.frame.head.append(button({ icon: "grid", label: t("networks.title"), title: t("networks.says"), id: "sl-networks-button", class: "sl-button sl-networks-button", onclick: toggle }));
  registerShortcut("n", "keys.networks", toggle, { isActive: () => noDialogOpen() && view.drawBar.isConnected && !!document.querySelector("#sl-create")?.checkVisibility(), aliases: ["LoRA", "extra networks", "embedding", "textual inversion"] });
}

/** The pictures that the model looks at, whose script is loaded with the first checkpoint that does. @param {FormView} view @param {Form} form */
function mountReferences(view, form) {
  let loading = false;
  const load = () => {
    if (loading || !(form.referenceLimits || form.references.list.length)) return;
    loading = true;
    view.setPanel("references", import("./references.js").then(({ ReferencePanel }) => new ReferencePanel(view.referencesRoot, form, (text) => view.prompts.prompt.insert(text))));
  };
  form.subscribe(load);
  load();
}

/** @param {FormView} view @param {Form} form @param {JobStore} jobStore */
function mountSeedButtons(view, form, jobStore) {
  const lastSeed = () => jobStore.newestFirst().map((job) => job.result?.pictures?.[0]?.seed ?? job.request.seed).find((seed) => seed !== null && seed !== undefined);
  view.seed("seed").addButtons(
    button({ icon: "dice", label: t("create.seed.dice"), iconOnly: true, onclick: () => form.setByUser("seed", "") }),
    button({ icon: "lock", label: t("create.seed.lock"), iconOnly: true, onclick: () => {
      const seed = lastSeed();
      if (seed === undefined) toast(t("create.seed.none"));
      else form.setByUser("seed", String(seed));
    } }),
  );
}

/** @param {FormView} view @param {Form} form @param {JobStore} jobStore @param {PromptHistory} history */
function mountDrawBar(view, form, jobStore, history) {
  const note = h("span", { class: "sl-draw-says", "aria-live": "polite" });
  let busy = false; // not the disabled attribute, which would lose the focus
  const submit = withErrorToast(async () => {
    if (busy) return;
    busy = true;
    drawButton.setAttribute("aria-disabled", "true");
    view.commit();
    const used = promptsOf(form);
    try {
      if (await generate(form, jobStore)) history.add(used);
    } finally {
      busy = false;
      drawButton.removeAttribute("aria-disabled");
    }
  });
  const drawButton = button({ label: t("create.draw"), kind: "primary", onclick: submit, id: "sl-draw-button", "aria-keyshortcuts": "Control+Enter" });
  const update = () => {
    const unfinished = [...jobStore.jobs.values()].filter((job) => job.state === "queued" || job.state === "running").length;
    const text = [jobStore.paused && t("queue.paused.note"), unfinished && t("create.waiting", { n: unfinished })].filter(Boolean).join(" · ");
    if (note.textContent !== text) note.textContent = text;
  };
  jobStore.subscribe((change) => change.type !== "preview" && update());
  keepUncovered(view.drawBar);
  setChildren(view.drawBar, h("div", { class: "sl-draw-bar" }, drawButton, h("span", { class: "sl-hint sl-wide-only" }, `${t("key.Ctrl")} + ${t("key.Enter")}`), note));
  const isActive = () => noDialogOpen() && view.drawBar.checkVisibility();
  registerShortcut("Ctrl+Enter", "keys.draw", () => drawButton.click(), { whileTyping: true, isActive });
  registerShortcut("p", "keys.prompt", () => view.prompts.prompt.focus(), { isActive });
}

/** The keys of the prompts: weights, and the prompts that were used before. @param {FormView} view @param {Form} form @param {PromptHistory} history */
function registerPromptKeys(view, form, history) {
  const focused = () => Object.values(view.prompts).find(({ area }) => area === document.activeElement);
  const options = { whileTyping: true, isActive: () => !!focused() };
  registerShortcut("Ctrl+ArrowUp", "keys.weight.more", () => focused()?.changeWeight(WEIGHT_STEP), options);
  registerShortcut("Ctrl+ArrowDown", "keys.weight.less", () => focused()?.changeWeight(-WEIGHT_STEP), options);
  const leaf = (/** @type {1 | -1} */ direction) => {
    const found = history.step(direction, promptsOf(form));
    if (found) form.fill({ ...found });
  };
  registerShortcut("Alt+ArrowUp", "keys.history.older", () => leaf(1), options);
  registerShortcut("Alt+ArrowDown", "keys.history.newer", () => leaf(-1), options);
}

/** A button that lists the prompts that were used last. @param {Form} form @param {PromptHistory} history */
function historyButton(form, history) {
  const id = "sl-prompt-history";
  const popup = h("div", { id, class: "sl-popup sl-options-popup", popover: "auto", "aria-label": t("create.history") });
  const opener = button({ icon: "history", label: t("create.history"), iconOnly: true, onclick: () => {}, popovertarget: id });
  const use = (/** @type {import("./form/history.js").Prompts} */ { prompt, negative_prompt }) => {
    popup.hidePopover();
    form.fill({ prompt, negative_prompt });
  };
  popup.addEventListener("toggle", () => {
    if (!popup.matches(":popover-open")) return;
    const { entries } = history;
    setChildren(popup, entries.length
      ? [h("div", { class: "sl-options" }, entries.map((entry) => h("button", { type: "button", class: "sl-option", title: entry.prompt, onclick: () => use(entry) }, h("span", {}, entry.prompt)))),
        button({ icon: "trash", label: t("create.history.clear"), kind: "quiet", onclick: () => (PromptHistory.clear(), popup.hidePopover()) })]
      : h("p", { class: "sl-hint sl-no-option" }, t("create.history.empty")));
    place(popup, opener);
  });
  return h("span", {}, opener, popup);
}

/** @param {Form} form @returns {import("./form/history.js").Prompts} */
const promptsOf = ({ values }) => ({ prompt: String(values.prompt), negative_prompt: String(values.negative_prompt) });

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

/** An error in place of the explanation; null if it is not about a prompt or the server could not be reached, so that the old counts stay. @param {unknown} error */
function explanationOfError(error) {
  if (!(error instanceof ApiError) || error.status === 0 || (error.field && !/prompt$/.test(error.field))) return null;
  const explanation = { tokens: null, chunks: null, per_chunk: null, wildcards: [], missing_wildcards: [], spans: [], error: { code: error.code, message: error.message, context: error.context } };
  return { prompt: explanation, negative_prompt: { ...explanation, error: null } };
}
