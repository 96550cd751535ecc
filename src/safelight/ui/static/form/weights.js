// The weight of words in a prompt, as A1111's Ctrl+arrow keys change it: (words:1.2).

const NOT_IN_WORDS = /[\s,.;:()[\]{}|<>"]/;
const BARE_WEIGHT = 1.1; // of parentheses without a number

/**
 * Change the weight of the selected words, or of those around the cursor: what its parentheses hold, otherwise the word.
 * @param {string} text
 * @param {number} start  of the selection
 * @param {number} end
 * @param {number} change  such as 0.1
 * @returns {{from: number, to: number, replacement: string, selection: [number, number]} | null}
 *   what replaces which part of the text, and the words' new place; null: there are no words
 */
export function changeWeight(text, start, end, change) {
  const words = start === end ? (enclosed(text, start) ?? wordAt(text, start)) : trimmed(text, start, end);
  if (words.start === words.end) return null;
  const inner = text.slice(words.start, words.end);
  const number = /^:\s*(\d*\.?\d+)\s*\)/.exec(text.slice(words.end));
  const hasParentheses = text[words.start - 1] === "(" && text[words.start - 2] !== "\\" && (number !== null || text[words.end] === ")");
  const weight = !hasParentheses ? 1 : number ? Number(number[1]) : BARE_WEIGHT;
  const changed = Math.max(0, Math.round((weight + change) * 100) / 100);
  const from = hasParentheses ? words.start - 1 : words.start;
  const to = !hasParentheses ? words.end : words.end + (number ? number[0].length : 1);
  const position = changed === 1 ? from : from + 1;
  return { from, to, replacement: changed === 1 ? inner : `(${inner}:${changed})`, selection: [position, position + inner.length] };
}

/** What the parentheses around the cursor hold, without the weight; null: there are none. @param {string} text @param {number} cursor */
function enclosed(text, cursor) {
  const opening = text.lastIndexOf("(", cursor - 1);
  const closing = text.indexOf(")", cursor);
  if (cursor === 0 || opening < 0 || closing < 0 || text[opening - 1] === "\\" || text[closing - 1] === "\\") return null;
  const content = text.slice(opening + 1, closing);
  if (/[()]/.test(content)) return null;
  return { start: opening + 1, end: opening + 1 + content.replace(/:\s*\d*\.?\d*\s*$/, "").length };
}

/** The word at the cursor. @param {string} text @param {number} cursor */
function wordAt(text, cursor) {
  let [start, end] = [cursor, cursor];
  while (start > 0 && !NOT_IN_WORDS.test(text[start - 1])) start--;
  while (end < text.length && !NOT_IN_WORDS.test(text[end])) end++;
  return { start, end };
}

/** A selection without spaces at its ends, and without the parentheses and the weight around its words. @param {string} text @param {number} start @param {number} end */
function trimmed(text, start, end) {
  while (start < end && /\s/.test(text[start])) start++;
  while (end > start && /\s/.test(text[end - 1])) end--;
  const inner = /^\(([^()]*?)(?::\s*\d*\.?\d+\s*)?\)$/.exec(text.slice(start, end));
  return inner ? { start: start + 1, end: start + 1 + inner[1].length } : { start, end };
}
