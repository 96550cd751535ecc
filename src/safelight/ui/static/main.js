// The page's beginning: texts, who is here, the jobs, and the part of each tab as soon as its place is there.

import { makeActions } from "./actions.js";
import { mountCards } from "./cards.js";
import { get, request } from "./core/api.js";
import { appears, button, fill, h, whenever } from "./core/dom.js";
import { listenToKeys, shortcut, showHelp } from "./core/keys.js";
import { Live } from "./core/live.js";
import { chooseLanguage, chosenLanguage, LANGUAGES, loadTexts, t } from "./core/text.js";
import { complain, watched } from "./core/toast.js";
import { mountCreate } from "./create.js";
import { Editor } from "./editor.js";
import { Form } from "./form.js";
import { mount as mountGallery } from "./gallery.js";
import { mount as mountModels } from "./models.js";
import { mount as mountModerate } from "./moderate.js";
import { mount as mountSystem } from "./system.js";
import { nothingOver } from "./viewer/overlay.js";

const TABS = /** @type {const} */ (["create", "gallery", "moderate", "models", "system"]);
const PARTS = { gallery: mountGallery, moderate: mountModerate, models: mountModels, system: mountSystem };
const TAB = "safelight.tab";

/** Show another tab. @param {string} name */
async function show(name) {
  const tab = await appears(`#sl-tab-${name}-button`);
  if (tab.getAttribute("aria-selected") !== "true") tab.click();
}

async function begin() {
  /** @type {[import("./types").Me, void]} */
  const [me] = await Promise.all([get("/v1/session"), loadTexts()]);
  const live = new Live();
  const form = new Form(appears("#sl-editor").then((root) => new Editor(root, { onchange: () => form.touch(), onsize: (size) => form.fit(size) })));
  /** @type {any} */ (window).safelight = { form, live }; // where Gradio's events of the form go
  const actions = makeActions({ form, live, show });
  const studio = { me, live, actions, show };

  live.connect();
  mountCreate(form, live);
  whenever("#sl-header", (root) => header(root, studio));
  whenever("#sl-jobs", (root) => mountCards(root, studio));
  for (const [name, mount] of Object.entries(PARTS)) whenever(`#sl-${name}`, (root) => mount(root, studio));
  listenToKeys();
  TABS.forEach((name, place) => shortcut(`${place + 1}`, `keys.tab.${name}`, () => show(name), { when: nothingOver }));
  addEventListener("sl:checkpoint", (event) => form.choose(/** @type {CustomEvent} */ (event).detail));
  for (const kind of /** @type {const} */ (["dragover", "drop"])) {
    // A file that is dropped beside its place must not replace the page.
    document.addEventListener(kind, (event) => event.dataTransfer?.types.includes("Files") && event.preventDefault());
  }
  keepTab();

  await offerChoices(form).catch(complain);
  await appears("#sl-fill");
  form.limits = JSON.parse((await appears("#sl-draw")).dataset.limits ?? "{}");
  form.begin();
}

/** What the dropdowns offer, as it is now. @param {Form} form */
async function offerChoices(form) {
  const [{ data }, { samplers }, { schedules }] = await Promise.all([get("/v1/models"), get("/v1/samplers"), get("/v1/schedules")]);
  form.offer(data);
  form.offerSamplers(samplers, schedules);
}

/** The line above the tabs: the name, the connection, language, light or dark, who is signed in. @param {HTMLElement} root @param {import("./types").Studio} studio */
function header(root, { me, live, actions }) {
  const line = h("span", { class: "sl-connection", role: "status" });
  live.listen((change) => {
    if (change.type !== "connection") return;
    line.textContent = change.open ? "" : t("offline");
    line.classList.toggle("sl-lost", !change.open);
  });
  const language = h("select", { class: "sl-field", "aria-label": t("language"), onchange: () => chooseLanguage(language.value) },
    Object.entries(LANGUAGES).map(([name, title]) => h("option", { value: name, selected: name === chosenLanguage() }, title)));
  const looks = ["system", "light", "dark"];
  const look = h("select", { class: "sl-field", "aria-label": t("look"), onchange: () => (localStorage.setItem("safelight.look", look.value), location.reload()) },
    looks.map((name) => h("option", { value: name, selected: name === (localStorage.getItem("safelight.look") ?? "system") }, t(`look.${name}`))));
  const leave = watched(async () => {
    await actions.finish();
    Form.forget();
    await request("DELETE", "/v1/session");
    location.assign("/sign-in");
  });
  fill(
    root,
    h("header", { class: "sl-header" },
      h("span", { class: "sl-lamp sl-small", "aria-hidden": "true" }),
      h("h1", {}, "Safelight"),
      line,
      h("div", { class: "sl-header-right" },
        language, look,
        button({ label: "?", onclick: showHelp, title: t("keys.title"), "aria-label": t("keys.title") }),
        me.keys && h("span", { class: "sl-hint sl-wide-only" }, me.owner),
        me.cookie && button({ icon: "user", label: t("sign_out"), onclick: leave }),
      ),
    ),
  );
}

/** A reload shows the tab that was open. */
function keepTab() {
  const kept = sessionStorage.getItem(TAB);
  if (kept && kept !== TABS[0]) show(kept);
  document.addEventListener("click", (event) => {
    const tab = event.target instanceof Element ? event.target.closest("[role=tab]") : null;
    const name = tab && TABS.find((each) => tab.id === `sl-tab-${each}-button`);
    if (name) sessionStorage.setItem(TAB, name);
  });
}

begin().catch(complain);
