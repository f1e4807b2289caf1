// The theme, before anything is painted: the system's, or the one that was chosen here.
// A plain script, because modules run only after the page is parsed.
(() => {
  const NAME = "theme";
  const THEMES = ["auto", "light", "dark"];
  const root = document.documentElement;

  function stored() {
    try {
      const theme = localStorage.getItem(NAME);
      return THEMES.includes(theme) ? theme : "auto";
    } catch {
      return "auto"; // storage is forbidden
    }
  }

  function apply(theme) {
    root.dataset.theme = theme;
    document.dispatchEvent(new Event("theme"));
  }

  globalThis.theme = {
    current: () => root.dataset.theme,
    next: () => THEMES[(THEMES.indexOf(root.dataset.theme) + 1) % THEMES.length],
    set(theme) {
      try {
        localStorage.setItem(NAME, theme);
      } catch {
        // It then lasts until the page is closed.
      }
      apply(theme);
    },
  };
  apply(stored());
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => apply(root.dataset.theme));
  // Another tab chose.
  addEventListener("storage", (event) => event.key === NAME && apply(stored()));
})();
