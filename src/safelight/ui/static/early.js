// Runs before anything is drawn: the language, and light or dark, so that neither flickers.
(() => {
  const there = ["en", "de", "fr"]; // as in core/text.js
  const wanted = [localStorage.getItem("safelight.language"), ...navigator.languages].map((name) => name?.slice(0, 2) ?? "");
  const language = wanted.find((name) => there.includes(name)) ?? "en";
  for (const [name, value] of Object.entries({ language, languages: [language] })) {
    Object.defineProperty(navigator, name, { get: () => value, configurable: true }); // what Gradio goes by
  }
  document.documentElement.lang = language;

  const look = localStorage.getItem("safelight.look") ?? "system";
  const system = matchMedia("(prefers-color-scheme: dark)");
  const paint = () => {
    const dark = look === "dark" || (look === "system" && system.matches);
    document.documentElement.style.background = dark ? "#171412" : "#faf8f5";
    if (document.body && document.body.classList.contains("dark") !== dark) document.body.classList.toggle("dark", dark);
  };
  paint();
  system.addEventListener("change", paint);
  // Gradio goes by the system alone, when it begins and whenever that changes.
  new MutationObserver((_, observer) => {
    if (!document.body) return;
    observer.disconnect();
    paint();
    new MutationObserver(paint).observe(document.body, { attributes: true, attributeFilter: ["class"] });
  }).observe(document.documentElement, { childList: true });
})();
