// Runs before anything is drawn: the language that was chosen, and light or dark, so that neither flickers.
(() => {
  const language = localStorage.getItem("safelight.language");
  if (language) {
    for (const [name, value] of Object.entries({ language, languages: [language] })) {
      Object.defineProperty(navigator, name, { get: () => value, configurable: true });
    }
  }
  const look = localStorage.getItem("safelight.look") ?? "system";
  const dark = look === "dark" || (look === "system" && matchMedia("(prefers-color-scheme: dark)").matches);
  document.documentElement.style.background = dark ? "#171412" : "#faf8f5";
  // Gradio decides by its own ?__theme=; body is there only later.
  new MutationObserver((_, observer) => {
    if (!document.body) return;
    document.body.classList.toggle("dark", dark);
    if (document.readyState === "complete") observer.disconnect();
  }).observe(document.documentElement, { childList: true, subtree: true });
})();
