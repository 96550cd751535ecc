// A menu of commands, whose script is loaded for the first one.

import { showError } from "./toast.js";

/** @param {Parameters<typeof import("./popover.js").openMenu>} menu  place, label and items */
export const openMenu = (...menu) => void import("./popover.js").then((popover) => popover.openMenu(...menu), showError);
