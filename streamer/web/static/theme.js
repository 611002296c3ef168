// Dark, light or as the system is: set before anything is painted, remembered, switched by the button in the header.
(() => {
  const KEY = "facestreamer.theme";
  const NEXT = { auto: "light", light: "dark", dark: "auto" };
  const WORDS = { auto: "as the system", light: "light", dark: "dark" };
  let theme = "auto";
  try {
    theme = localStorage.getItem(KEY) ?? "auto";
  } catch {
    // not allowed to remember anything
  }

  function apply() {
    if (!(theme in NEXT)) theme = "auto";
    document.documentElement.dataset.theme = theme;
    const button = document.getElementById("theme");
    button?.setAttribute("aria-label", `Colours: ${WORDS[theme]}. Switch to ${WORDS[NEXT[theme]]}`);
    if (button) button.title = `Colours: ${WORDS[theme]}`;
  }

  apply();
  addEventListener("DOMContentLoaded", () => {
    apply();
    document.getElementById("theme").addEventListener("click", () => {
      theme = NEXT[theme];
      try {
        localStorage.setItem(KEY, theme);
      } catch {
        // then it holds until the page is closed
      }
      apply();
    });
  });
})();
