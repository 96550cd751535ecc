// The actions on a picture, in the order in which they are shown.

/** @typedef {{name: string, icon: any, keys: string, leaves: boolean, needsFile: boolean}} Action  leaves: whether another part of the page shows what comes of it */

export const ACTIONS = /** @type {const} */ ([
  { name: "use", icon: "reuse", keys: "u", leaves: true, needsFile: true },
  { name: "sameSeed", icon: "lock", keys: "s", leaves: true, needsFile: true },
  { name: "vary", icon: "vary", keys: "v", leaves: true, needsFile: true },
  { name: "upscale", icon: "enlarge", keys: "x", leaves: true, needsFile: true },
  { name: "edit", icon: "edit", keys: "e", leaves: true, needsFile: true },
  { name: "reference", icon: "eye", keys: "Shift+r", leaves: false, needsFile: true },
  { name: "copy", icon: "copy", keys: "c", leaves: false, needsFile: false },
  { name: "copyPicture", icon: "picture", keys: "Shift+c", leaves: false, needsFile: true },
]);

/** @typedef {typeof ACTIONS[number]["name"]} ActionName */

/** Actions that first ask how, with their shortcuts; the action itself takes the last choice. */
export const CHOICES = /** @type {const} */ ({ vary: "Shift+v", upscale: "Shift+x" });

/** @typedef {keyof typeof CHOICES} ChoiceName */

/** Whether an action can be asked how. @param {ActionName} name @returns {name is ChoiceName} */
export const hasChoices = (name) => name in CHOICES;
