// The entry point: load texts and the session, connect to the jobs, and mount each part as soon as its element exists.

import { clearInputs } from "./actions/inputs.js";
import { makeActions } from "./actions.js";
import { get, request } from "./core/api.js";
import { button, h, onElementAdded, setChildren, waitForElement } from "./core/dom.js";
import { JobStore } from "./core/job_store.js";
import { openPalette, registerEntries, startPalette } from "./core/palette.js";
import { addressOf, navigate, onRoute } from "./core/router.js";
import { registerShortcut, showShortcuts, startShortcuts } from "./core/shortcuts.js";
import { currentLanguage, LANGUAGES, loadTexts, setLanguage, t } from "./core/text.js";
import { showError, toast, withErrorToast } from "./core/toast.js";
import { beginWithPreferred, currentLook, loadPreferences } from "./core/user_preferences.js";
import { whileVisible } from "./core/while_visible.js";
import { mountCreate } from "./create.js";
import { mountSource } from "./editor/source.js";
import { Form } from "./form.js";
import { queueButton } from "./queue/button.js";
import { mountStage } from "./stage.js";
import { noDialogOpen } from "./viewer/overlay.js";

const TABS = /** @type {const} */ (["create", "gallery", "moderate", "models", "system", "settings"]);
/** The scripts of the other tabs, loaded when a tab is first shown. @type {Record<string, () => Promise<{mount: (root: HTMLElement, context: import("./types").PageContext) => void}>>} */
const TAB_SCRIPTS = {
  gallery: () => import("./gallery.js"),
  moderate: () => import("./moderate.js"),
  models: () => import("./models.js"),
  system: () => import("./system.js"),
  settings: () => import("./settings.js"),
};
const TAB_BUTTON = /^sl-tab-(.+)-button$/;
/** Searches of the gallery that the palette offers. @type {Record<string, Record<string, string>>} */
const GALLERY_VIEWS = { favourites: { favourite: "1" }, review: { decision: "review" }, blocked: { decision: "block" }, oldest: { sort: "oldest" }, largest: { sort: "largest" } };
const LOOKS = ["system", "light", "dark"];
const LOOK_KEY = "safelight.look";
const MODELS_INTERVAL = 30; // seconds between two looks for new models, while the form is visible
let knownModels = "";

/** Show a tab. @param {string} name */
async function showTab(name) {
  const tab = await waitForElement(`#sl-tab-${name}-button`);
  if (tab.getAttribute("aria-selected") !== "true") tab.click();
}

async function start() {
  /** @type {[import("./types").Session, void, void]} */
  const [me] = await Promise.all([get("/v1/session"), loadTexts(), loadPreferences()]);
  const jobStore = new JobStore();
  /** @type {(editor: import("./editor.js").Editor) => void} */
  let useEditor = () => {};
  const form = new Form(new Promise((resolve) => (useEditor = resolve)));
  let setUsable = () => {};
  /** Resolves when the form is filled in; scripts that are not needed before are loaded then. @type {Promise<void>} */
  const usable = new Promise((resolve) => (setUsable = resolve));
  /** @type {any} */ (window).safelight = { form, jobStore }; // for tests
  const actions = makeActions({ form, jobStore, owner: me.owner, show: showTab });
  const context = { me, jobStore, actions, show: showTab };

  jobStore.connect();
  mountCreate(form, jobStore, showTab, me);
  onElementAdded("#sl-header", (root) => mountHeader(root, context));
  onElementAdded("#sl-stage", (root) => mountStage(root, context, form, { oneditor: useEditor, usable }));
  onElementAdded("#sl-start-picture", (root) => mountSource(root, form));
  for (const [name, load] of Object.entries(TAB_SCRIPTS)) onElementAdded(`#sl-${name}`, withErrorToast(async (root) => (await load()).mount(root, context)));
  startShortcuts();
  startPalette();
  TABS.forEach((name, index) => registerShortcut(`${index + 1}`, `keys.tab.${name}`, () => showTab(name), { isActive: noDialogOpen }));
  addEventListener("sl:checkpoint", (event) => form.selectCheckpoint(/** @type {CustomEvent} */ (event).detail));
  addEventListener("sl:models", (event) => setModels(form, /** @type {CustomEvent} */ (event).detail));
  onElementAdded("#sl-form", (root) => whileVisible(root, () => refreshModels(form), () => MODELS_INTERVAL));
  for (const type of /** @type {const} */ (["dragover", "drop"])) {
    // A file that is dropped outside a drop target must not navigate away from the page.
    document.addEventListener(type, (event) => event.dataTransfer?.types.includes("Files") && event.preventDefault());
  }
  followAddress(context);
  registerPageEntries();

  void Promise.all([waitForElement(".sl-header h1"), waitForElement("#sl-prompt")]).then(removeSkeleton);

  await loadChoices(form).catch(showError);
  await waitForElement("#sl-prompt");
  form.restore();
  beginWithPreferred(form);
  performance.mark("usable");
  setUsable();
  void loadLater(context);
  const { keepList } = await import("./control/storage.js");
  const subscribe = (/** @type {() => void} */ listener) => form.subscribe(listener);
  await Promise.all([keepList("units", form.units, me.owner, subscribe), keepList("references", form.references, me.owner, subscribe), keepList("regions", form.regions, me.owner, subscribe)]);
}

/** Load what is not needed to write a prompt and generate. @param {import("./types").PageContext} context */
async function loadLater(context) {
  try {
    const [{ startPresence }, { settingsEntries }] = await Promise.all([import("./presence.js"), import("./settings/entries.js")]);
    startPresence(context);
    registerEntries(() => settingsEntries(context));
  } catch (error) {
    showError(error);
  }
}

/** Load the choices of the form's lists. @param {Form} form */
async function loadChoices(form) {
  const [{ data }, { samplers }, { schedules }] = await Promise.all([get("/v1/models"), get("/v1/samplers"), get("/v1/schedules")]);
  setModels(form, data);
  form.setSamplers(samplers, schedules);
}

/** Look for new models; if that fails, the next time will do. @param {Form} form */
async function refreshModels(form) {
  if (!knownModels) return; // they are being loaded
  await get("/v1/models").then(({ data }) => setModels(form, data)).catch(() => {});
}

/** Set the form's models, if they have changed. @param {Form} form @param {import("./types").Model[]} models */
function setModels(form, models) {
  const key = JSON.stringify(models.map(({ id, default: usual, draws, references }) => [id, usual, draws, references]));
  if (key === knownModels) return;
  knownModels = key;
  form.setModels(models);
}

/** The header: the name, the connection, the language, the theme, and the user. @param {HTMLElement} root @param {import("./types").PageContext} context */
function mountHeader(root, context) {
  const { me, jobStore, actions } = context;
  const connectionNote = h("span", { class: "sl-connection", role: "status" });
  jobStore.subscribe((change) => {
    if (change.type !== "connection") return;
    connectionNote.textContent = change.connected ? "" : t("offline");
    connectionNote.classList.toggle("sl-lost", !change.connected);
  });
  const languageSelect = h("select", { class: "sl-field", "aria-label": t("language"), onchange: () => setLanguage(languageSelect.value) },
    Object.entries(LANGUAGES).map(([name, title]) => h("option", { value: name, selected: name === currentLanguage() }, title)));
  const lookSelect = h("select", { class: "sl-field", "aria-label": t("look"), onchange: () => setLook(lookSelect.value) },
    LOOKS.map((name) => h("option", { value: name, selected: name === currentLook() }, t(`look.${name}`))));
  const signOut = withErrorToast(async () => {
    await actions.flushDeletions();
    const [{ clearLists }, { clearEditorStorage }] = await Promise.all([import("./control/storage.js"), import("./editor/storage.js")]);
    Form.clearStorage();
    await Promise.all([clearEditorStorage(), clearLists(), clearInputs()]).catch(() => {}); // a private window has none
    await request("DELETE", "/v1/session");
    location.assign("/sign-in");
  });
  setChildren(
    root,
    h("header", { class: "sl-header" },
      h("span", { class: "sl-lamp sl-small", "aria-hidden": "true" }),
      h("h1", {}, "Safelight"),
      connectionNote,
      h("div", { class: "sl-header-right" },
        queueButton(context),
        button({ icon: "search", label: t("palette.title"), iconOnly: true, onclick: openPalette, "aria-keyshortcuts": "Control+K" }),
        languageSelect, lookSelect,
        button({ label: "?", onclick: showShortcuts, title: t("keys.title"), "aria-label": t("keys.title") }),
        me.keys && h("span", { class: "sl-hint sl-wide-only" }, me.owner),
        me.cookie && button({ icon: "user", label: t("sign_out"), onclick: signOut }),
      ),
    ),
  );
}

/** Show what the address says, and let the address follow the tabs. @param {import("./types").PageContext} context */
function followAddress(context) {
  document.addEventListener("click", (event) => {
    const tab = event.target instanceof Element ? event.target.closest("[role=tab]") : null;
    const name = tab?.id.match(TAB_BUTTON)?.[1];
    if (name) navigate(name);
  });
  onRoute(async ({ tab, picture }) => {
    await waitForElement(`#sl-tab-${TABS[0]}-button`);
    if (document.getElementById(`sl-tab-${tab}-button`)) {
      await showTab(tab);
      if (picture !== null || document.querySelector(".sl-viewer")) await (await import("./viewer.js")).showLinkedPicture(context, picture);
    } else {
      toast(t("route.no_tab", { name: tab }), { kind: "error" });
      history.replaceState(null, "", location.pathname);
      void showTab(TABS[0]);
    }
  });
}

/** Choose a look and reload the page. @param {string} name  one of LOOKS */
function setLook(name) {
  localStorage.setItem(LOOK_KEY, name);
  location.reload();
}

/** Let the palette find the tabs of plug-ins, the gallery's filters, and the settings of the page. */
function registerPageEntries() {
  const tabs = () => [...document.querySelectorAll(/** @type {"button"} */ ("#sl-tabs [role=tab]"))].filter(({ id }) => !TABS.some((name) => id === `sl-tab-${name}-button`));
  registerEntries(() => [
    ...tabs().map((tab) => ({ label: tab.textContent?.trim() ?? "", group: t("palette.tabs"), run: () => tab.click() })),
    ...Object.entries(GALLERY_VIEWS).map(([name, query]) => ({ key: `palette.gallery.${name}`, group: t("tab.gallery"), run: () => (location.hash = addressOf({ tab: "gallery", query })) })),
    ...LOOKS.map((name) => ({ key: `look.${name}`, label: `${t("look")}: ${t(`look.${name}`)}`, group: t("palette.settings"), run: () => setLook(name) })),
    ...Object.entries(LANGUAGES).map(([name, title]) => ({ key: "language", label: `${t("language")}: ${title}`, group: t("palette.settings"), run: () => setLanguage(name) })),
  ]);
}

/** Uncover the page. */
const removeSkeleton = () => document.querySelector("#sl-skeleton")?.remove();

start().catch((error) => (removeSkeleton(), showError(error)));
