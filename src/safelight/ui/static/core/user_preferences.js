// The user's preferences on the server, the same in every browser; a copy here is there before the first paint.

import { get, read, request } from "./api.js";
import { cachedPreferences, currentLanguage, offeredLanguages, PREFERENCES_KEY } from "./text.js";

/** @typedef {import("../types").Preferences} Preferences */

export const LANGUAGE_KEY = "safelight.language", LOOK_KEY = "safelight.look"; // chosen in this browser, at the top of the page
const FORM_KEY = "safelight.form";
let firstVisit = false; // whether this browser holds no form yet

/** The look that is in use: system, light or dark. */
export const currentLook = () => localStorage.getItem(LOOK_KEY) ?? cachedPreferences().look ?? "system";

/** Load the preferences; without them, the page is as this browser has it. */
export async function loadPreferences() {
  firstVisit = !localStorage.getItem(FORM_KEY);
  try {
    keepPreferences(await get("/v1/preferences"));
  } catch {
    // the page's other requests report failures
  }
}

/** Change preferences. @param {Partial<Preferences>} changes @returns {Promise<Preferences>} */
export async function changePreferences(changes) {
  /** @type {Preferences} */
  const changed = await read(await request("PATCH", "/v1/preferences", { json: changes }));
  dispatchEvent(new CustomEvent("sl:preferences", { detail: changed }));
  return changed;
}

/** Keep a copy; if the page looks otherwise with these preferences, it is loaded again. @param {Preferences} preferences */
export function keepPreferences(preferences) {
  const appearance = () => JSON.stringify([currentLanguage(), currentLook(), offeredLanguages()]);
  const before = appearance();
  localStorage.setItem(PREFERENCES_KEY, JSON.stringify(preferences));
  if (appearance() !== before) location.reload();
}

/** In a browser that holds no form yet, begin with the preferred checkpoint. @param {import("../form.js").Form} form */
export function beginWithPreferred(form) {
  const checkpoint = cachedPreferences().default_checkpoint;
  if (firstVisit && checkpoint) form.selectCheckpoint(checkpoint);
}
