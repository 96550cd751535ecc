// The right side of the Create tab: the stage with the selected job or the editor, the film strip below it, and what an empty stage shows.

import { JobPictures } from "./core/job_pictures.js";
import { button, h, setChildren } from "./core/dom.js";
import { isFinished } from "./core/job_store.js";
import { onRoute, setRoute } from "./core/router.js";
import { registerShortcut } from "./core/shortcuts.js";
import { t } from "./core/text.js";
import { keepUncovered, showError, toast } from "./core/toast.js";
import { showPane } from "./panes.js";
import { examplePrompts } from "./stage/examples.js";
import { jobTitle, statusText } from "./stage/job_status.js";
import { Stage } from "./stage/stage.js";
import { Strip } from "./stage/strip.js";
import { stripMenu } from "./stage/strip_menu.js";
import { noDialogOpen } from "./viewer/overlay.js";

/** @typedef {import("./types").Job} Job */
/** @typedef {import("./stage/strip.js").Selection} Selection */

const OPEN_ABOVE = ":popover-open, .sl-queue:not([hidden])"; // what Escape closes first
const KEYS_ACT_ON = ".sl-editor-stage, .sl-stage-job"; // what is focused when Escape leaves the form

/**
 * @param {HTMLElement} root
 * @param {import("./types").PageContext} context
 * @param {import("./form.js").Form} form
 * @param {{oneditor: (editor: import("./editor.js").Editor) => void, usable: Promise<void>}} options  oneditor: called when the editor is
 *   loaded; usable: resolves when the form is filled in
 */
export function mountStage(root, context, form, { oneditor, usable }) {
  const { jobStore } = context;
  const pictures = new JobPictures();
  const select = (/** @type {Selection} */ selection) => {
    stage.select(selection);
    strip.select(selection);
  };
  /** @type {import("./stage/editing.js").Editing | null} */
  let editing = null;
  /** The user selects something: the address says it. @param {Selection} selection */
  const choose = (selection) => {
    select(selection);
    setRoute("create", { path: [selection.jobId, ...(selection.index === null ? [] : [String(selection.index)])] });
  };
  const stage = new Stage(context, pictures, { largestThumbnail: Number(root.dataset.thumbnail), sizeOf: (id) => form.defaultSize(id), onselect: choose });
  const chooseInStrip = (/** @type {Selection} */ selection) => (editing?.close(), choose(selection));
  const strip = new Strip(context, pictures, { onselect: chooseInStrip, onmenu: stripMenu(context, pictures, { stage, choose: chooseInStrip }) });
  const empty = emptyStage(form);
  const liveRegion = h("p", { class: "sl-hidden", role: "status" });
  setChildren(root, h("h2", { class: "sl-hidden" }, t("jobs.title")), stage.element, empty, strip.element, liveRegion);
  keepUncovered(strip.element);
  keepUncovered(stage.actions.element);
  const acceptEarly = acceptDrops(root, (file) => void form.editPicture(file).catch(showError));
  void usable.then(() => import("./stage/editing.js")).then(({ Editing }) => {
    acceptEarly.abort();
    editing = new Editing(root, context, { form, pictures });
    empty.after(editing.element);
    oneditor(editing.editor);
  }, showError);

  /** What the address asked for before the jobs were known. @type {Selection | null} */
  let asked = null;
  const showAsked = () => {
    if (!asked || !jobStore.connected) return;
    const { jobId, index } = asked;
    asked = null;
    const job = strip.jobs.find(({ id }) => id === jobId);
    if (!job) {
      toast(t("route.no_job"), { kind: "error", hint: t("route.no_job.hint") });
      return setRoute("create", {});
    }
    select({ jobId, index });
    const gone = index !== null && pictures.isComplete(job) && !pictures.of(jobId).some((picture) => picture.index === index);
    if (gone) {
      toast(t("route.no_picture"), { kind: "error" });
      choose({ jobId, index: null });
    }
  };
  const showNewest = () => {
    showAsked();
    const shown = stage.selection && jobStore.jobs.has(stage.selection.jobId);
    const [first] = strip.jobs;
    if (!shown && stage.selection) setRoute("create", {}); // it has been cleared
    if (!shown && first) select({ jobId: first.id, index: null });
    else if (!first) stage.select(null);
    empty.hidden = !!first;
  };
  const announce = stateAnnouncer(jobStore, (text) => (liveRegion.textContent = text));
  jobStore.subscribe((change) => {
    if (change.type === "job") announce(change.job);
    if (change.type === "job" || change.type === "jobs") showNewest();
    if (change.type === "added") {
      choose({ jobId: change.job.id, index: null });
      if (!editing?.follow(change.job)) editing?.close();
    }
    if (change.type === "error") showError(Object.assign(new Error(), change.error));
  });
  showNewest();
  onRoute(({ tab, path: [jobId, index] }) => {
    if (tab !== "create" || !jobId) return;
    asked = { jobId, index: /^\d+$/.test(index ?? "") ? Number(index) : null };
    showPane("stage");
    showAsked();
  });

  const isActive = () => noDialogOpen() && stage.element.checkVisibility() && !document.activeElement?.closest("#sl-form");
  const isStepping = () => isActive() && !(document.activeElement instanceof HTMLInputElement); // arrow keys move the divider of two pictures
  const step = (/** @type {1 | -1} */ by) => {
    const next = neighbour(strip.jobs, pictures, stage.selection, by);
    if (next) choose(next);
  };
  registerShortcut("ArrowLeft", "viewer.previous", () => step(-1), { isActive: isStepping });
  registerShortcut("ArrowRight", "viewer.next", () => step(1), { isActive: isStepping });
  registerShortcut("Escape", "keys.stage", () => {
    showPane("stage");
    [...root.querySelectorAll(/** @type {"section"} */ (KEYS_ACT_ON))].find((each) => each.checkVisibility())?.focus();
  }, {
    whileTyping: true, isActive: () => noDialogOpen() && !document.querySelector(OPEN_ABOVE) && !!document.activeElement?.closest("#sl-form"),
  });
  registerShortcut("Enter", "jobs.open", () => stage.open(), { isActive: () => isActive() && !(document.activeElement instanceof HTMLButtonElement) });
}

/**
 * Take pictures that are dropped before the editor is loaded, which then takes them itself; form.editPicture waits for it.
 * @param {HTMLElement} root
 * @param {(file: File) => void} onfile
 * @returns {AbortController}  ends it
 */
function acceptDrops(root, onfile) {
  const controller = new AbortController();
  const { signal } = controller;
  root.addEventListener("dragover", (event) => event.dataTransfer?.types.includes("Files") && event.preventDefault(), { signal });
  root.addEventListener("drop", (event) => {
    const files = [...(event.dataTransfer?.files ?? [])];
    const file = files.find(({ type }) => type.startsWith("image/")) ?? files[0];
    if (!file) return;
    event.preventDefault();
    onfile(file);
  }, { signal });
  return controller;
}

/** The picture before or after the selected one, in the strip's order. @param {Job[]} jobs @param {JobPictures} pictures @param {Selection | null} selection @param {1 | -1} by @returns {Selection | undefined} */
function neighbour(jobs, pictures, selection, by) {
  const all = jobs.flatMap(({ id }) => {
    const indices = pictures.of(id).map(({ index }) => index);
    return (indices.length > 1 ? indices : [null]).map((index) => ({ jobId: id, index }));
  });
  const ofJob = all.filter(({ jobId }) => jobId === selection?.jobId);
  const current = ofJob.find(({ index }) => index === selection?.index) ?? (by > 0 ? undefined : ofJob[0]);
  const at = current ? all.indexOf(current) + by : all.indexOf(ofJob[0]);
  return all[at];
}

/** Announces changes of a job's state, not every step. @param {import("./core/job_store.js").JobStore} jobStore @param {(text: string) => void} say @returns {(job: Job) => void} */
function stateAnnouncer(jobStore, say) {
  /** @type {Map<string, string>} */
  const states = new Map(jobStore.newestFirst().map((job) => [job.id, job.state]));
  return (job) => {
    const before = states.get(job.id);
    states.set(job.id, job.state);
    if (isFinished(job)) states.delete(job.id);
    if (before && before !== job.state) say(`${jobTitle(job)}: ${statusText(job)}`);
  };
}

/** What is shown before the first picture: example prompts, and what the page can do. @param {import("./form.js").Form} form */
function emptyStage(form) {
  const examples = h("div", { class: "sl-examples" });
  const render = () => setChildren(examples, examplePrompts(form.checkpoint).map((prompt) => button({ label: prompt, onclick: () => useExample(form, prompt) })));
  form.subscribe(render);
  render();
  return h("div", { class: "sl-empty sl-stage-empty" },
    h("div", { class: "sl-lamp", "aria-hidden": "true" }),
    h("h3", {}, t("jobs.empty")),
    h("p", {}, t("jobs.empty.says")),
    examples,
    h("ul", { class: "sl-stage-hints" }, ["edit", "recall", "keys"].map((name) => h("li", {}, t(`jobs.empty.${name}`)))));
}

/** @param {import("./form.js").Form} form @param {string} prompt */
function useExample(form, prompt) {
  form.fill({ prompt });
  document.querySelector(/** @type {"button"} */ ("#sl-draw-button"))?.focus();
}
