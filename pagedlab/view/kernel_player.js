// A kernel's pictures under a slider. They are shown as images: whatever a text in them says, it is drawn, not run.

const ICONS = {
  first: "M2 3h2v10H2zM14 3v10L5 8z",
  back: "M12 3v10L4 8z",
  play: "M4 2v12l10-6z",
  pause: "M3 2h4v12H3zM9 2h4v12H9z",
  forward: "M4 3v10l8-5z",
  last: "M12 3h2v10h-2zM2 3v10l9-5z",
};
const SECOND = 1000, STEPS_A_SECOND = 2.5;

function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

function icon(path) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("aria-hidden", "true");
  svg.append(document.createElementNS("http://www.w3.org/2000/svg", "path"));
  svg.firstChild.setAttribute("d", path);
  return svg;
}

async function unpack(view) {
  const stream = new Blob([view]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Response(stream).json();
}

async function render({ model, el }) {
  const { lines, pictures, texts, starts } = await unpack(model.get("_film"));
  const end = pictures.length - 1; // the whole
  let at = 0, timer = 0;

  const button = (label, sign, action) => {
    const element = h("button", { type: "button", "aria-label": label, title: label, "data-lm-suppress-shortcuts": "true" }, icon(ICONS[sign]));
    element.addEventListener("click", action);
    return element;
  };
  const image = h("img", { style: "display: block; width: 100%; max-width: 860px; height: auto; margin: 0 auto" });
  const slider = h("input", { type: "range", min: "0", max: String(end), step: "1", "aria-label": "Step", "data-lm-suppress-shortcuts": "true" });
  const play = button("Play", "play", () => toggle(!timer));
  play.classList.add("plm-play");
  const live = h("div", { class: "plm-live", role: "status", "aria-live": "polite" });

  function show(step) {
    at = Math.max(0, Math.min(end, step));
    const svg = pictures[at].map((line) => lines[line]).join("\n");
    image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(svg)}`;
    image.alt = texts[at];
    slider.value = String(at);
    slider.setAttribute("aria-valuetext", at < end ? `step ${at + 1} of ${end}` : "everything");
    if (!timer) live.textContent = texts[at];
    if (at === end) toggle(false);
  }

  function toggle(on) {
    if (on === Boolean(timer)) return;
    clearInterval(timer);
    timer = on ? setInterval(() => show(at + 1), SECOND / STEPS_A_SECOND) : 0;
    if (on && at === end) show(0);
    play.firstChild.firstChild.setAttribute("d", on ? ICONS.pause : ICONS.play);
    for (const name of ["aria-label", "title"]) play.setAttribute(name, on ? "Pause" : "Play");
  }

  slider.addEventListener("input", () => show(Number(slider.value)));
  const controls = h("div", { class: "plm-controls" },
    h("div", { class: "plm-buttons" },
      button("Program before", "first", () => show(starts.findLast((start) => start < at) ?? 0)),
      button("Step back", "back", () => show(at - 1)), play,
      button("Step forward", "forward", () => show(at + 1)),
      button("Next program", "last", () => show(starts.find((start) => start > at) ?? end))),
    h("div", { class: "plm-scrub" }, slider));
  el.append(h("section", { class: "plm", "aria-label": "Kernel player" }, image, controls, live));
  show(0);
  return () => clearInterval(timer);
}

export default { render };
