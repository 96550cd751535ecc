// What can be done with any picture, wherever it is shown: use it, draw it again, vary it, enlarge it, edit it.

import { get, post, request } from "./core/api.js";
import { fileOf } from "./core/picture.js";
import { t } from "./core/text.js";
import { toast } from "./core/toast.js";

/** @typedef {import("./types").Entry} Entry */

const VARIED = 0.2; // how much of another seed's noise "vary" mixes in
const UNDO = 7000; // milliseconds in which a deleted picture can be had back

/**
 * Everything a picture can be asked for.
 * @typedef {ReturnType<typeof makeActions>} Actions
 */

/**
 * @param {{form: import("./form.js").Form, live: import("./core/live.js").Live, show: (tab: string) => void}} parts
 */
export function makeActions({ form, live, show }) {
  /** Pictures that are to be deleted as soon as nobody can want them back. @type {Map<string, () => void>} */
  const doomed = new Map();
  addEventListener("pagehide", () => doomed.forEach((now) => now()));

  /** Fill the form with a picture's parameters, and say what could not be. @param {string} id */
  async function use(id) {
    const blob = await (await request("GET", fileOf(id))).blob();
    const answer = await request("POST", "/v1/recall", { body: blob, headers: { "Content-Type": blob.type } });
    show("create");
    form.recall(await answer.json());
  }

  /** The same again, with other fields in some places. @param {string} id @param {Record<string, any>} changes */
  async function again(id, changes) {
    const entry = await get(`/v1/gallery/${id}`);
    const blob = await (await request("GET", fileOf(id))).blob();
    const answer = await request("POST", "/v1/recall", { body: blob, headers: { "Content-Type": blob.type } });
    const recalled = await answer.json();
    if (recalled.unfilled.some((/** @type {{name: string}} */ { name }) => name === "init_image" || name === "mask")) {
      toast(t("again.needs_picture"), { kind: "error" });
      return;
    }
    show("create");
    live.add(await post("/v1/jobs", { kind: "generate", ...recalled.fields, seed: entry.seed, count: 1, ...changes }));
  }

  return {
    use,
    /** Draw it once more with its own seed. @param {string} id */
    sameSeed: (id) => again(id, {}),
    /** Draw four that are near to it. @param {string} id */
    vary: (id) =>
      again(id, {
        count: 4,
        variation: { seed: Math.floor(Math.random() * 2 ** 31), strength: VARIED, same_seed: true },
      }),
    /** Enlarge it. @param {string} id @param {number} [by] @param {string} [upscaler] */
    async upscale(id, by = 2, upscaler = "lanczos") {
      const blob = await (await request("GET", fileOf(id))).blob();
      const data = new FormData();
      data.append("image", blob, "picture");
      data.append("request", JSON.stringify({ kind: "upscale", by, upscaler }));
      live.add(await (await request("POST", "/v1/jobs", { body: data })).json());
      toast(t("upscale.queued"));
    },
    /** Put it into the editor. @param {string} id */
    async edit(id) {
      const blob = await (await request("GET", fileOf(id))).blob();
      show("create");
      await form.edit(blob);
    },
    /** Copy its infotext. @param {string} id */
    async copy(id) {
      const entry = await get(`/v1/gallery/${id}`);
      await navigator.clipboard.writeText(entry.infotext ?? entry.prompt);
      toast(t("copied"));
    },
    /** Make it a favourite, or not. @param {string} id @param {boolean} favourite @returns {Promise<Entry>} */
    async favourite(id, favourite) {
      return (await request("PATCH", `/v1/gallery/${id}`, { json: { favourite } })).json();
    },
    /**
     * Delete it, unless it is wanted back within some seconds; leaving the page deletes it at once.
     * @param {string} id
     * @param {{hide: () => void, restore: () => void}} view  how to take it out of sight and put it back
     */
    remove(id, { hide, restore }) {
      hide();
      const now = () => {
        if (!doomed.delete(id)) return;
        request("DELETE", `/v1/gallery/${id}`, { keepalive: true }).catch((error) => {
          if (error.status === 404) return;
          restore();
          toast(error.message, { kind: "error" });
        });
      };
      doomed.set(id, now);
      const undo = () => {
        doomed.delete(id);
        restore();
      };
      toast(t("deleted"), { stays: UNDO, action: { label: t("undo"), run: undo }, gone: now });
    },
    /** Whether it is on its way out. @param {string} id */
    isDoomed: (/** @type {string} */ id) => doomed.has(id),
  };
}
