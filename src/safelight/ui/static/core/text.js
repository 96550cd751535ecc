// The page's texts, one catalogue per language; numbers, times and sizes in the language's format.

const ALL_LANGUAGES = /** @type {const} */ ({ en: "English", de: "Deutsch", fr: "Français" });
const STORAGE_KEY = "safelight.language";
export const PREFERENCES_KEY = "safelight.preferences"; // the user's preferences on the server, as last seen

/** The user's preferences as last seen. @returns {Partial<import("../types").Preferences>} */
export function cachedPreferences() {
  try {
    return JSON.parse(localStorage.getItem(PREFERENCES_KEY) ?? "{}");
  } catch {
    return {};
  }
}

/** The names of the languages that the server offers, as last seen. */
export const offeredLanguages = () => Object.keys(ALL_LANGUAGES).filter((name) => (cachedPreferences().languages ?? [name]).includes(name));

/** The languages that were offered when the page was loaded, by name. @type {Record<string, string>} */
export const LANGUAGES = Object.fromEntries(Object.entries(ALL_LANGUAGES).filter(([name]) => offeredLanguages().includes(name)));

/** @type {Record<string, string>} */
let catalogue = {};
let language = "en";
/** @type {Promise<Record<string, string>> | null} */
let english = null;

/** The language that the user has chosen in this browser, or on the server, or the first of the browser's languages that there is. */
export function currentLanguage() {
  const preferred = [localStorage.getItem(STORAGE_KEY), cachedPreferences().language, ...navigator.languages];
  return preferred.map((name) => name?.slice(0, 2) ?? "").find((name) => offeredLanguages().includes(name)) ?? offeredLanguages()[0] ?? "en";
}

/** Choose a language and reload the page. @param {string} name  one of LANGUAGES */
export function setLanguage(name) {
  localStorage.setItem(STORAGE_KEY, name);
  location.reload();
}

/** Load the catalogue; until then, t() returns keys. */
export async function loadTexts() {
  language = currentLanguage();
  document.documentElement.lang = language;
  catalogue = await fetchTexts(language);
}

/** The texts in English, by which names are found in every language. @returns {Promise<Record<string, string>>} */
export function loadEnglishTexts() {
  english ??= fetchTexts("en");
  return english;
}

/** @param {string} name  of a language @returns {Promise<Record<string, string>>} */
const fetchTexts = async (name) => (await fetch(new URL(`../texts/${name}.json`, import.meta.url))).json();

/**
 * A text with its {placeholders} filled in. With a value n, the plural forms key.one, key.other … are looked up.
 * @param {string} key
 * @param {Record<string, string | number>} [values]
 */
export function t(key, values = {}) {
  const pluralKey = "n" in values ? `${key}.${new Intl.PluralRules(language).select(Number(values.n))}` : key;
  const text = catalogue[pluralKey] ?? catalogue[`${key}.other`] ?? catalogue[key] ?? key;
  return text.replace(/\{(\w+)\}/g, (placeholder, name) => {
    const value = values[name];
    return value === undefined ? placeholder : typeof value === "number" ? formatNumber(value) : value;
  });
}

/** Whether there is a text. @param {string} key */
export const hasText = (key) => key in catalogue;

/** The keys of all texts that begin with a prefix. @param {string} prefix */
export const textKeys = (prefix) => Object.keys(catalogue).filter((key) => key.startsWith(prefix));

/** A text with its {placeholders}. @param {string} key */
export const textOf = (key) => catalogue[key] ?? key;

/** Alternatives: "a, b or c". @param {string[]} items */
export const formatChoice = (items) => new Intl.ListFormat(language, { type: "disjunction" }).format(items);

/** @param {number} value @param {number} [digits]  maximum number of decimals */
export const formatNumber = (value, digits = 2) =>
  new Intl.NumberFormat(language, { maximumFractionDigits: digits }).format(value);

/** @param {number} share  0 to 1 */
export const formatPercent = (share, digits = 0) =>
  new Intl.NumberFormat(language, { style: "percent", maximumFractionDigits: digits }).format(share);

/** @param {number} bytes */
export function formatBytes(bytes) {
  const units = /** @type {const} */ (["byte", "kilobyte", "megabyte", "gigabyte"]);
  const step = Math.min(units.length - 1, bytes > 0 ? Math.floor(Math.log10(bytes) / 3) : 0);
  const digits = bytes / 1000 ** step < 10 && step ? 1 : 0;
  return new Intl.NumberFormat(language, {
    style: "unit", unit: units[step], unitDisplay: step ? "short" : "long", maximumFractionDigits: digits,
  }).format(bytes / 1000 ** step);
}

/** A duration, rounded. @param {number} seconds */
export function formatDuration(seconds) {
  const [value, unit] = seconds < 90 ? [seconds, "second"] : seconds < 5400 ? [seconds / 60, "minute"] : [seconds / 3600, "hour"];
  const digits = value < 10 && unit === "hour" ? 1 : 0;
  return new Intl.NumberFormat(language, {
    style: "unit", unit, unitDisplay: "short", maximumFractionDigits: digits,
  }).format(Math.max(1, value));
}

/** Date and time. @param {string | number | Date} moment */
export const formatDateTime = (moment) =>
  new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "short" }).format(new Date(moment));

/** The date alone. @param {string | number | Date} moment */
export const formatDate = (moment) => new Intl.DateTimeFormat(language, { dateStyle: "full" }).format(new Date(moment));

/** The time of day alone. @param {string | number | Date} moment */
export const formatTime = (moment) => new Intl.DateTimeFormat(language, { timeStyle: "medium" }).format(new Date(moment));
