// Signing in: shows the key to the server, says what went wrong, and goes on to where somebody wanted to go.

import { destination } from "./destination.js";
import { TEXTS } from "./texts.js";

const SESSION = "/v1/session";
const language = navigator.languages.map((name) => name.slice(0, 2)).find((name) => name in TEXTS) ?? "en";
const texts = TEXTS[language];

const form = /** @type {HTMLFormElement} */ (document.querySelector("#sign-in"));
const name = /** @type {HTMLInputElement} */ (form.querySelector("#name"));
const key = /** @type {HTMLInputElement} */ (form.querySelector("#key"));
const button = /** @type {HTMLButtonElement} */ (form.querySelector("button"));
const complaint = /** @type {HTMLElement} */ (form.querySelector("#complaint"));

speak();
form.addEventListener("submit", (event) => {
  event.preventDefault();
  if (button.getAttribute("aria-busy") !== "true") void signIn();
});
void goOnIfKnown();

/** Put the language's words into the page. */
function speak() {
  document.documentElement.lang = language;
  document.title = `${texts.enter} · Safelight`;
  for (const element of document.querySelectorAll("[data-text]")) {
    const text = /** @type {import("./texts.js").Text} */ (element.getAttribute("data-text"));
    element.textContent = texts[text];
  }
}

/** Whoever is signed in already may have come by a link of another site, with which browsers send no cookie. */
async function goOnIfKnown() {
  try {
    if ((await fetch(SESSION)).ok) goOn();
  } catch {
    complain(texts.offline);
  }
}

async function signIn() {
  complain("");
  button.setAttribute("aria-busy", "true");
  try {
    const response = await fetch(SESSION, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ key: key.value.trim() }),
    });
    if (response.ok) {
      name.value = (await response.json()).owner;
      return goOn();
    }
    await refused(response);
  } catch {
    complain(texts.offline);
  }
  button.removeAttribute("aria-busy");
}

/** Say why a key was not taken. @param {Response} response */
async function refused(response) {
  if (response.status === 401) {
    complain(texts.wrong);
    key.setAttribute("aria-invalid", "true");
    key.select();
    key.focus();
  } else if (response.status === 429) {
    complain(texts.many.replace("{seconds}", response.headers.get("Retry-After") ?? "60"));
  } else if (response.status === 503) {
    complain(texts.starting);
  } else {
    complain(texts.refused.replace("{message}", (await response.json()).error.message));
  }
}

/** @param {string} text  Nothing, when all is well. */
function complain(text) {
  complaint.textContent = text;
  key.removeAttribute("aria-invalid");
}

function goOn() {
  location.replace(destination(new URLSearchParams(location.search).get("next"), location.origin) + location.hash); // what the page is to show
}
