// LoRAs and embeddings in the text of a prompt: whether it has one, and the text with or without it.

/** @typedef {Pick<import("../types").Adapter, "kind" | "name" | "place" | "alias">} Named */

const TAG = /<(?:lora|lyco):([^:<>]+)(?::[^<>]*)?>/gi;

/** Whether a prompt has a LoRA's tag or an embedding's name. @param {string} text @param {Named} network */
export const hasNetwork = (text, network) => placesOf(text, network).length > 0;

/**
 * A prompt with a network at its end.
 * @param {string} text
 * @param {Named} network
 * @param {string} name  by which it is called: its place, if another one has its name
 */
export const withNetwork = (text, { kind }, name) => (kind === "LoRA" ? append(text, `<lora:${name}:1>`, " ") : append(text, name, ", "));

/** A prompt without a network, whatever its strength. @param {string} text @param {Named} network */
export function withoutNetwork(text, network) {
  for (const [from, to] of placesOf(text, network).reverse()) {
    const before = text.slice(0, from), after = text.slice(to);
    const isAlone = /(^|,)\s*$/.test(before) && /^\s*(,|$)/.test(after); // between two commas, one of which goes with it
    const [left, right] = isAlone && before.trim() ? [before.replace(/,\s*$/, ""), after] : isAlone ? ["", after.replace(/^\s*,\s*/, "")] : [before.replace(/\s+$/, ""), after];
    text = !left ? right.trimStart() : /\S$/.test(left) && /^[^\s,.;:)\]}|]/.test(right) ? `${left} ${right}` : left + right;
  }
  return text;
}

/** A prompt with those of some words that it does not have yet. @param {string} text @param {string[]} words */
export function withWords(text, words) {
  const missing = words.filter((word) => !wordPattern(word).test(text));
  return missing.length ? append(text, missing.join(", "), ", ") : text;
}

/** Where a network is in a prompt. @param {string} text @param {Named} network @returns {[number, number][]}  beginning and end */
function placesOf(text, { kind, name, place, alias }) {
  if (kind === "embedding") return [...new Set([name, place])].flatMap((each) => [...text.matchAll(embeddingPattern(each))].map(({ index, 0: found }) => /** @type {[number, number]} */ ([index, index + found.length])));
  const names = [name, place, alias].filter(Boolean).map((each) => each.toLowerCase());
  return [...text.matchAll(TAG)].filter(({ 1: called }) => names.includes(called.trim().toLowerCase())).map(({ index, 0: found }) => [index, index + found.length]);
}

/** An embedding as a whole word, or in brackets of its own with a weight; after a backslash it is a word. @param {string} name */
function embeddingPattern(name) {
  const word = `(?:embedding:)?${escaped(name)}`;
  return new RegExp(`\\(\\s*${word}\\s*(?::\\s*[\\d.]+)?\\s*\\)|(?<![\\p{L}\\p{N}_\\\\:-])${word}(?![\\p{L}\\p{N}_-])`, "giu");
}

/** @param {string} word */
const wordPattern = (word) => new RegExp(`(?<![\\p{L}\\p{N}_])${escaped(word)}(?![\\p{L}\\p{N}_])`, "iu");
/** @param {string} text */
const escaped = (text) => text.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&");

/** @param {string} text @param {string} more @param {string} separator */
function append(text, more, separator) {
  const before = text.trimEnd();
  if (!before) return more;
  return before + (separator === ", " && before.endsWith(",") ? " " : separator) + more;
}
