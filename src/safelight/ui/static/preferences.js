// Apply the language and the theme before the first paint, so that neither flickers. A classic script, as modules are deferred.
(() => {
  /** The user's preferences on the server, as last seen. @type {Partial<import("./types").Preferences>} */
  let stored = {};
  try {
    stored = JSON.parse(localStorage.getItem("safelight.preferences") ?? "{}");
  } catch {}
  const supported = ["en", "de", "fr"].filter((name) => (stored.languages ?? [name]).includes(name)); // same as LANGUAGES in core/text.js
  const preferred = [localStorage.getItem("safelight.language"), stored.language, ...navigator.languages].map((name) => name?.slice(0, 2) ?? "");
  const language = preferred.find((name) => supported.includes(name)) ?? supported[0] ?? "en";
  for (const [name, value] of Object.entries({ language, languages: [language] })) {
    Object.defineProperty(navigator, name, { get: () => value, configurable: true }); // Gradio takes its language from here
  }
  document.documentElement.lang = language;
  document.documentElement.dataset.opens = location.hash.match(/^#\/([^/?]+)/)?.[1] ?? "create"; // for the skeleton

  const theme = localStorage.getItem("safelight.look") ?? stored.look ?? "system";
  const systemDark = matchMedia("(prefers-color-scheme: dark)");
  const applyTheme = () => {
    const dark = theme === "dark" || (theme === "system" && systemDark.matches);
    document.documentElement.style.background = dark ? "#171412" : "#faf8f5";
    if (document.body && document.body.classList.contains("dark") !== dark) document.body.classList.toggle("dark", dark);
  };
  applyTheme();
  systemDark.addEventListener("change", applyTheme);
  // Gradio applies the system's theme when it starts and whenever that changes.
  new MutationObserver((_, observer) => {
    if (!document.body) return;
    observer.disconnect();
    applyTheme();
    new MutationObserver(applyTheme).observe(document.body, { attributes: true, attributeFilter: ["class"] });
  }).observe(document.documentElement, { childList: true });
})();
