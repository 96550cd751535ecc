// Whether the browser shows a notice when a job ends: the browser's permission, and the user's preference on the server.

import { get, read, request } from "../core/api.js";
import { h } from "../core/dom.js";
import { t } from "../core/text.js";
import { showError, withErrorToast } from "../core/toast.js";

const available = "Notification" in window && isSecureContext;
/** @type {Promise<boolean> | null} */
let preference = null;

addEventListener("sl:preferences", (event) => (preference = Promise.resolve(!!(/** @type {CustomEvent} */ (event).detail.notify_when_done))));

/** Whether the browser may show notices. */
export const isAllowed = () => available && Notification.permission === "granted";

/** Whether the user wants notices. @returns {Promise<boolean>} */
function wantsNotices() {
  preference ??= get("/v1/preferences").then(({ notify_when_done }) => !!notify_when_done);
  return preference;
}

/** A switch for the notices; only it asks the browser for its permission. */
export function noticeSwitch() {
  const box = h("input", { type: "checkbox", role: "switch" });
  const note = h("p", { class: "sl-hint", role: "status" });
  const change = withErrorToast(async () => {
    note.textContent = "";
    if (box.checked && (await Notification.requestPermission()) !== "granted") {
      box.checked = false;
      note.textContent = t("queue.notify.denied");
      return;
    }
    const saved = read(await request("PATCH", "/v1/preferences", { json: { notify_when_done: box.checked } }));
    preference = saved.then(({ notify_when_done }) => !!notify_when_done);
    box.checked = await preference;
  });
  box.addEventListener("change", change);
  if (isAllowed()) wantsNotices().then((wanted) => (box.checked = wanted), showError);
  return h("div", { class: "sl-queue-notices", hidden: !available }, h("label", {}, box, h("span", {}, t("queue.notify"))), note);
}

/** Show a notice; a press on it shows the page at an address. @param {string} title @param {string} body @param {string} address */
export async function notify(title, body, address) {
  if (!isAllowed() || !(await wantsNotices().catch(() => false))) return;
  const notice = new Notification(title, { body, icon: "/favicon.svg", tag: "safelight" }); // of several jobs the newest is shown
  notice.onclick = () => {
    window.focus();
    location.hash = address;
    notice.close();
  };
}
