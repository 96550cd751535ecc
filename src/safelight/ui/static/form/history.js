// The prompts that were used last, kept in the browser.

/** @typedef {{prompt: string, negative_prompt: string}} Prompts */

const STORAGE_KEY = "safelight.prompts";
const MAX_KEPT = 50;

export class PromptHistory {
  /** What stood in the form before the history was leafed through. @type {Prompts | null} */
  #draft = null;
  #position = -1; // in the entries; -1: the draft

  /** The newest first. @returns {Prompts[]} */
  get entries() {
    try {
      const stored = JSON.parse(localStorage.getItem(STORAGE_KEY) ?? "[]");
      return Array.isArray(stored) ? stored : [];
    } catch {
      return [];
    }
  }

  /** @param {Prompts} used */
  add(used) {
    this.#position = -1;
    if (!used.prompt.trim()) return;
    const others = this.entries.filter((each) => !isSame(each, used));
    localStorage.setItem(STORAGE_KEY, JSON.stringify([used, ...others].slice(0, MAX_KEPT)));
  }

  /**
   * The prompts before or after the current ones; the newest ones are followed by what stood in the form before.
   * @param {1 | -1} direction  1: older
   * @param {Prompts} current  what the form holds
   * @returns {Prompts | null}  null: there are none
   */
  step(direction, current) {
    const { entries } = this;
    const shown = this.#position < 0 ? this.#draft : entries[this.#position];
    if (!shown || !isSame(shown, current)) [this.#draft, this.#position] = [current, -1];
    let next = this.#position + direction;
    if (next === 0 && direction > 0 && entries[0] && isSame(entries[0], current)) next++; // what was just used
    if (next < -1 || next >= entries.length) return null;
    this.#position = next;
    return next < 0 ? this.#draft : entries[next];
  }

  /** Forget all prompts. */
  static clear() {
    localStorage.removeItem(STORAGE_KEY);
  }
}

/** @param {Prompts} one @param {Prompts} other */
const isSame = (one, other) => one.prompt === other.prompt && one.negative_prompt === other.negative_prompt;
