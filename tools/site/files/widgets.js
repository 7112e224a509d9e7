// Gives each widget on the page its module, and what was saved of it as its model: no kernel answers, and none is asked.
(() => {
  const value = (saved) => saved && typeof saved === "object" && "bytes" in saved
    ? new DataView(Uint8Array.from(atob(saved.bytes), (letter) => letter.charCodeAt(0)).buffer)
    : saved;

  const modules = new Map();
  function load(kind) {
    if (!modules.has(kind)) {
      const { esm, css } = window.courseModules[kind];
      const style = document.createElement("style");
      style.textContent = css;
      document.head.append(style);
      // A page opened from a disk may not import a file, but it may import what it holds itself.
      const bytes = new TextEncoder().encode(esm);
      let letters = "";
      for (const byte of bytes) letters += String.fromCharCode(byte);
      modules.set(kind, import(`data:text/javascript;base64,${btoa(letters)}`));
    }
    return modules.get(kind);
  }

  async function show({ name, kind, state }) {
    const el = document.getElementById(name);
    const model = { get: (key) => value(state[key]), set() {}, save_changes() {}, on() {}, off() {}, send() {} };
    const found = (await load(kind)).default;
    const widget = typeof found === "function" ? await found() : found;
    await widget.initialize?.({ model });
    await widget.render({ model, el });
    el.dataset.alive = "true";
  }

  for (const saved of window.courseWidgets ?? []) show(saved);
})();
