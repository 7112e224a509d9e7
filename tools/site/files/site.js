// The theme that was chosen, before the page is drawn; and the switch for it.
(() => {
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  const kept = () => { try { return localStorage.getItem("theme"); } catch { return null; } };
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);

  function apply() {
    // Widgets follow JupyterLab's attribute.
    if (document.body) document.body.setAttribute("data-jp-theme-light", String(!isDark()));
    const button = document.getElementById("theme");
    if (button) Object.assign(button, { textContent: isDark() ? "Light" : "Dark", hidden: false });
  }

  const chosen = kept();
  if (chosen) root.dataset.theme = chosen;
  system.addEventListener("change", apply);
  document.addEventListener("DOMContentLoaded", () => {
    apply();
    document.getElementById("theme").addEventListener("click", () => {
      root.dataset.theme = isDark() ? "light" : "dark";
      try { localStorage.setItem("theme", root.dataset.theme); } catch { /* kept for this page only */ }
      apply();
    });
    // Beside the text the chapters are open, above it they are folded away.
    const wide = matchMedia("(min-width: 1100px)"), chapters = document.querySelector("details.chapters");
    const unfold = () => { chapters.open = wide.matches; };
    wide.addEventListener("change", unfold);
    unfold();
  });
})();
