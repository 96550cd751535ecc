// Runs before anything is drawn: the language, and light or dark, so that neither flickers.
(() => {
  const supported = ["en", "de", "fr"]; // as in core/text.js
  const preferred = [localStorage.getItem("safelight.language"), ...navigator.languages].map((name) => name?.slice(0, 2) ?? "");
  const language = preferred.find((name) => supported.includes(name)) ?? "en";
  for (const [name, value] of Object.entries({ language, languages: [language] })) {
    Object.defineProperty(navigator, name, { get: () => value, configurable: true }); // what Gradio goes by
  }
  document.documentElement.lang = language;

  const theme = localStorage.getItem("safelight.look") ?? "system";
  const systemDark = matchMedia("(prefers-color-scheme: dark)");
  const applyTheme = () => {
    const dark = theme === "dark" || (theme === "system" && systemDark.matches);
    document.documentElement.style.background = dark ? "#171412" : "#faf8f5";
    if (document.body && document.body.classList.contains("dark") !== dark) document.body.classList.toggle("dark", dark);
  };
  applyTheme();
  systemDark.addEventListener("change", applyTheme);
  // Gradio goes by the system alone, when it begins and whenever that changes.
  new MutationObserver((_, observer) => {
    if (!document.body) return;
    observer.disconnect();
    applyTheme();
    new MutationObserver(applyTheme).observe(document.body, { attributes: true, attributeFilter: ["class"] });
  }).observe(document.documentElement, { childList: true });
})();
