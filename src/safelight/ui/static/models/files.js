// A table of every weights file that the server sees, whatever it is, with filters; and the folders in which it looks.

import { get, post, query, read, request } from "../core/api.js";
import { button, h, icon, setChildren } from "../core/dom.js";
import { formatBytes, formatNumber, t } from "../core/text.js";
import { withErrorToast } from "../core/toast.js";
import { whileVisible } from "../core/while_visible.js";

/**
 * @typedef {{name: string, folder: string, kind: string, family: string | null, precision: string | null, size: number, usable: boolean, reason: string}} WeightsFile
 * @typedef {{files: WeightsFile[], total: number, next: number | null}} Page
 * @typedef {{folders: {path: string, present: boolean}[], can_change: boolean, own: string}} Folders
 */

const KINDS = /** @type {const} */ (["checkpoint", "denoiser", "LoRA", "autoencoder", "text encoder", "embedding", "ControlNet", "IP-Adapter", "image encoder", "upscaler", "classifier", "pickle", "unknown"]);
const PAGE_SIZE = 50;
const MAX_SHORT_PAGES = 20; // requests for one page, while the server reads headers of files that do not match
const TYPING_PAUSE = 250; // milliseconds

/** @param {boolean} admin  may change the folders @param {() => void} onFoldersChange */
export function filesSection(admin, onFoldersChange) {
  const search = h("input", { class: "sl-field", type: "search", placeholder: t("models.files.search"), "aria-label": t("models.files.search"), maxlength: 200 });
  const kind = select(t("models.files.kind"), [["", t("models.files.kind.all")], ...KINDS.map((name) => [name, t(`models.kind.${name}`)])]);
  const usable = select(t("models.files.usable"), [["", t("models.files.usable.all")], ["true", t("models.files.usable.yes")], ["false", t("models.files.usable.no")]]);
  const count = h("span", {});
  const body = h("tbody", {});
  const state = h("p", { class: "sl-hint", role: "status" });
  const more = button({ label: t("models.files.more"), hidden: true, onclick: () => void load(false) });
  let next = 0, query_number = 0, timer = 0;

  /** Load the first page or the next one. @param {boolean} anew */
  async function load(anew) {
    const number = ++query_number; // a newer query makes an older one's answer void
    more.hidden = true;
    if (anew) next = 0;
    state.textContent = t("models.files.loading");
    /** @type {WeightsFile[]} */
    const found = [];
    try {
      for (let request = 0; request < MAX_SHORT_PAGES && found.length < PAGE_SIZE; request++) {
        /** @type {Page} */
        const page = await get(`/v1/models/files${query({ text: search.value.trim(), kind: kind.value, usable: usable.value, start: next || null, limit: PAGE_SIZE - found.length })}`);
        if (number !== query_number) return;
        found.push(...page.files);
        count.textContent = formatNumber(page.total);
        next = page.next ?? 0;
        if (page.next === null) break;
      }
    } catch {
      if (number === query_number) state.textContent = t("models.files.unread");
      return;
    }
    const rows = found.map(row);
    if (anew) setChildren(body, rows);
    else body.append(...rows);
    more.hidden = next === 0;
    state.textContent = body.children.length ? "" : t(next ? "models.files.none_yet" : "models.files.none");
  }

  const reload = () => void load(true);
  search.addEventListener("input", () => (clearTimeout(timer), (timer = setTimeout(reload, TYPING_PAUSE))));
  for (const field of [kind, usable]) field.addEventListener("change", reload);
  const refreshFolders = admin ? folderList(() => (reload(), onFoldersChange())) : null;
  const section = h(
    "section",
    { class: "sl-models-files", "aria-labelledby": "sl-models-files" },
    h("h2", { id: "sl-models-files" }, t("models.files"), " ", count),
    h("p", { class: "sl-hint" }, t("models.files.hint")),
    h("div", { class: "sl-models-filters", role: "search" }, search, kind, usable),
    h("div", { class: "sl-models-table" },
      h("table", {},
        h("thead", {}, h("tr", {}, ["name", "kind", "family", "precision", "size", "usable"].map((name) => h("th", { scope: "col" }, t(`models.files.${name}`))))),
        body)),
    state,
    more,
    refreshFolders?.element,
  );
  whileVisible(section, async () => { if (!body.children.length) await load(true); }, () => Infinity);
  return { element: section, reload };
}

/** @param {WeightsFile} file */
function row(file) {
  return h("tr", {},
    h("td", {}, file.name, h("span", { class: "sl-models-in" }, file.folder)),
    h("td", {}, t(`models.kind.${file.kind}`)),
    h("td", {}, file.family ?? "–"),
    h("td", {}, file.precision ?? "–"),
    h("td", {}, formatBytes(file.size)),
    h("td", { class: file.usable ? "sl-is-here" : "" }, file.usable ? [icon("check"), t("models.files.usable.yes")] : file.reason));
}

/** The folders of other programs, which administrators add and remove. @param {() => void} onChange */
function folderList(onChange) {
  const list = h("ul", {});
  const field = h("input", { class: "sl-field", id: "sl-models-folder", placeholder: "/home/me/stable-diffusion-webui", autocomplete: "off", spellcheck: "false", required: true, maxlength: 4096 });
  const add = button({ icon: "plus", label: t("models.folders.add"), onclick: () => {}, type: "submit" });
  const fixed = h("p", { class: "sl-hint", hidden: true }, t("models.folders.fixed"));
  let changes = 0; // an answer that was requested before a change, and comes after it, is out of date
  const change = withErrorToast(async (/** @type {string} */ method, /** @type {string} */ path) => {
    const changed = method === "POST" ? await post("/v1/models/folders", { path }) : await read(await request(method, `/v1/models/folders${query({ path })}`));
    changes++;
    show(changed);
    field.value = "";
    onChange();
  });
  const form = h("form", { onsubmit: async (/** @type {SubmitEvent} */ event) => {
    event.preventDefault();
    add.disabled = true;
    await change("POST", field.value.trim());
    add.disabled = false;
  } }, field, add);

  /** @param {Folders} folders */
  function show({ folders, can_change }) {
    form.hidden = !can_change;
    fixed.hidden = can_change;
    setChildren(list, folders.map(({ path, present }) => h("li", {},
      h("code", {}, path),
      !present && h("span", { class: "sl-badge sl-block" }, t("models.folders.missing")),
      can_change && button({ icon: "trash", label: t("models.folders.remove.name", { path }), iconOnly: true, onclick: () => change("DELETE", path) }))));
    list.hidden = !folders.length;
  }

  const element = h("section", { class: "sl-models-folders", "aria-labelledby": "sl-models-folders" },
    h("h3", { id: "sl-models-folders" }, h("label", { for: "sl-models-folder" }, t("models.folders"))),
    h("p", { class: "sl-hint" }, t("models.folders.hint")),
    list, fixed, form);
  const refresh = () => {
    const before = changes;
    return get("/v1/models/folders").then((answer) => before === changes && show(answer), () => {}); // the list of models reports failures
  };
  whileVisible(element, refresh, () => Infinity);
  return { element };
}

/** @param {string} label @param {string[][]} options  values and texts */
const select = (label, options) =>
  h("select", { class: "sl-field", "aria-label": label }, options.map(([value, text]) => h("option", { value }, text ?? "")));
