// Sliders that pick one of the frames computed in Python. All text is set as text, never as markup.

const SVG = "http://www.w3.org/2000/svg";
const LABEL = 120, WIDTH = 720, ROW = 34, HATCH = 7;
const ANGLES = { "|": 0, "/": 45, "-": 90, "\\": -45, x: 45 };

function node(parent, name, attributes = {}, text = null) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== null) element.textContent = text;
  parent.append(element);
  return element;
}

function hatches(svg, styles, prefix) {
  const defs = node(svg, "defs");
  for (const [kind, [colour, hatch]] of Object.entries(styles)) {
    if (!hatch) continue;
    const pattern = node(defs, "pattern", {
      id: `${prefix}-${kind}`, width: HATCH, height: HATCH, patternUnits: "userSpaceOnUse",
      patternTransform: `rotate(${ANGLES[hatch[0]]})`,
    });
    node(pattern, "rect", { width: HATCH, height: HATCH, fill: colour });
    node(pattern, "line", { y2: HATCH, stroke: "white", "stroke-width": 2 });
    if (hatch.startsWith("x")) node(pattern, "line", { x2: HATCH, stroke: "white", "stroke-width": 2 });
  }
}

function draw(svg, frame, styles, unit, prefix) {
  const height = frame.bars.length * ROW + 44;
  svg.replaceChildren();
  svg.setAttribute("viewBox", `0 0 ${LABEL + WIDTH + 20} ${height}`);
  svg.setAttribute("aria-label", frame.title);
  hatches(svg, styles, prefix);
  const x = (value) => LABEL + (value / frame.extent) * WIDTH;
  frame.bars.forEach(([label, segments, pageSize], row) => {
    const top = row * ROW + 6;
    node(svg, "text", { x: LABEL - 8, y: top + 16, "text-anchor": "end", fill: "currentColor" }, label);
    let left = 0;
    for (const [value, kind, text] of segments) {
      const [colour, hatch] = styles[kind];
      const width = x(left + value) - x(left);
      const fill = hatch ? `url(#${prefix}-${kind})` : colour;
      const rect = node(svg, "rect", { x: x(left), y: top, width, height: ROW - 12, fill });
      node(rect, "title", {}, `${kind}: ${text || value}`);
      const textWidth = 7 * text.length;
      if (text && width > textWidth) {
        const middle = x(left) + width / 2;
        if (hatch) node(svg, "rect", { x: middle - textWidth / 2 - 2, y: top + 3, width: textWidth + 4, height: 16, fill: "white", "fill-opacity": 0.85 });
        node(svg, "text", { x: middle, y: top + 16, "text-anchor": "middle", fill: kind === "used" ? "white" : "black" }, text);
      }
      left += value;
    }
    if (pageSize && x(pageSize) - x(0) > 3)
      for (let edge = pageSize; edge < left; edge += pageSize)
        node(svg, "line", { x1: x(edge), x2: x(edge), y1: top, y2: top + ROW - 12, stroke: "white", "stroke-width": 1.5 });
  });
  const bottom = frame.bars.length * ROW + 6;
  node(svg, "line", { x1: x(0), x2: x(frame.extent), y1: bottom, y2: bottom, stroke: "currentColor" });
  node(svg, "text", { x: x(0), y: bottom + 16, fill: "currentColor" }, "0");
  node(svg, "text", { x: x(frame.extent), y: bottom + 16, "text-anchor": "end", fill: "currentColor" },
    `${Number(frame.extent.toPrecision(3)).toLocaleString("en")} ${unit}`);
  if (frame.limit) {
    const [value, name] = frame.limit;
    node(svg, "line", { x1: x(value), x2: x(value), y1: 0, y2: bottom + 4, stroke: "currentColor", "stroke-width": 1.5, "stroke-dasharray": "5 4" });
    node(svg, "text", { x: x(value), y: bottom + 30, "text-anchor": "middle", fill: "currentColor" }, name);
  }
}

let instances = 0;

function render({ model, el }) {
  const choices = model.get("_choices"), frames = model.get("_frames"), at = [...model.get("_start")];
  const prefix = `explorer-${instances++}`;
  const controls = document.createElement("div");
  controls.style.cssText = "display: grid; grid-template-columns: max-content minmax(8em, 24em) max-content; gap: 4px 12px; align-items: center";
  const title = document.createElement("p");
  title.setAttribute("role", "status");
  title.style.fontWeight = "600";
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("role", "img");
  svg.style.cssText = "width: 100%; max-width: 860px; font: 13px sans-serif";

  function update() {
    const index = choices.reduce((sum, [, values], i) => sum * values.length + at[i], 0);
    title.textContent = frames[index].title;
    draw(svg, frames[index], model.get("_styles"), model.get("_unit"), prefix);
  }

  choices.forEach(([name, values], i) => {
    const label = document.createElement("label"), slider = document.createElement("input"), output = document.createElement("output");
    slider.type = "range";
    slider.id = `${prefix}-${i}`;
    Object.assign(slider, { min: 0, max: values.length - 1, value: at[i] });
    slider.setAttribute("data-lm-suppress-shortcuts", "true"); // JupyterLab would take the arrow keys
    label.htmlFor = slider.id;
    label.textContent = name;
    const say = () => {
      output.textContent = values[at[i]];
      slider.setAttribute("aria-valuetext", values[at[i]]);
    };
    slider.addEventListener("input", () => { at[i] = Number(slider.value); say(); update(); });
    say();
    controls.append(label, slider, output);
  });
  el.append(controls, title, svg);
  update();
}

export default { render };
