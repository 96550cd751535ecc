// Sentences that the server says in English, such as why a field was not filled in, in the page's language.

import { currentLanguage, loadEnglishTexts, textOf } from "./text.js";

const PREFIX = "server."; // of the keys of such sentences; their English texts are what the server says
const PLACEHOLDER = /\{(\w+)\}/g;

/**
 * A sentence of the server in the page's language; one that has no text stays as it is.
 * @param {string} sentence
 * @returns {Promise<string>}
 */
export async function serverText(sentence) {
  if (currentLanguage() === "en") return sentence;
  const english = Object.entries(await loadEnglishTexts().catch(() => ({}))).filter(([key]) => key.startsWith(PREFIX));
  for (const [key, text] of english) {
    const found = patternOf(text).exec(sentence);
    if (found) return textOf(key).replace(PLACEHOLDER, (_, name) => found.groups?.[name] ?? "");
  }
  return sentence;
}

/** What a text with {placeholders} matches. @param {string} text */
const patternOf = (text) => new RegExp(`^${text.replace(/[.*+?^$()|[\]\\]/g, "\\$&").replace(PLACEHOLDER, "(?<$1>.+)")}$`);
