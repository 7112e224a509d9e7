// What is on the screen as an SVG file: the same drawing code, on a context that writes shapes down.

import { NONE } from "./page_map_replay.js";
import { drawSwatch } from "./page_map_cells.js";
import { BAND, drawMap } from "./page_map_draw.js";

export const LEGEND = { used: "used", partial: "partly filled", shared: "shared ×n", "partial hit": "copied in part",
  copy: "copied on write", cached: "cached", free: "free", changed: "new in this step" };

/** Whether a film shows what the legend names. */
export const isThere = (kind, films) => ({ "partial hit": films.some((film) => film.hasPartialHits),
  copy: films.some((film) => film.hasCopies) })[kind] ?? true;

const n = (value) => String(Math.round(value * 100) / 100);

/** Text that is safe within XML, whoever wrote it. */
const escaped = (text) => text.toWellFormed().replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/g, "�")
  .replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;").replace(/"/g, "&quot;");

/** As much of a canvas's context as the page map is drawn with. */
class SvgContext {
  /** ground: the colour of what is cleared. patterns: those that all parts of a picture share. */
  constructor(ground, patterns = new Map()) {
    Object.assign(this, { ground, patterns, parts: [], globalAlpha: 1, dash: [] });
    this.beginPath();
  }

  /** Draw with the origin at a point. */
  at(x, y, draw) {
    const inner = new SvgContext(this.ground, this.patterns);
    draw(inner);
    this.parts.push({ text: `<g transform="translate(${n(x)} ${n(y)})">${inner}</g>` });
  }

  setTransform() {} // to the screen's pixels, of which a file knows nothing

  setLineDash(dash) {
    this.dash = dash;
  }

  clearRect(x, y, width, height) {
    this.shape(rectangle(x, y, width, height), this.paint("fill", this.ground));
  }

  fillRect(x, y, width, height) {
    this.shape(rectangle(x, y, width, height), this.paint("fill", this.fillStyle));
  }

  strokeRect(x, y, width, height) {
    this.shape(rectangle(x, y, width, height), this.line());
  }

  beginPath() {
    this.path = "";
  }

  moveTo(x, y) {
    this.path += `M${n(x)} ${n(y)}`;
  }

  lineTo(x, y) {
    this.path += `L${n(x)} ${n(y)}`;
  }

  bezierCurveTo(...points) {
    this.path += `C${points.map(n).join(" ")}`;
  }

  /** A whole circle. */
  arc(x, y, radius) {
    this.path += `M${n(x - radius)} ${n(y)}a${n(radius)} ${n(radius)} 0 1 0 ${n(2 * radius)} 0a${n(radius)} ${n(radius)} 0 1 0 ${n(-2 * radius)} 0z`;
  }

  fill() {
    this.shape(this.path, this.paint("fill", this.fillStyle));
  }

  stroke() {
    this.shape(this.path, this.line());
  }

  fillText(text, x, y) {
    this.text(text, x, y, this.paint("fill", this.fillStyle));
  }

  strokeText(text, x, y) {
    this.text(text, x, y, this.line());
  }

  /** A tile that repeats, as a fill style. */
  pattern(key, pitch, draw) {
    if (!this.patterns.has(key)) {
      const tile = new SvgContext(this.ground, this.patterns), id = `texture-${this.patterns.size}`;
      draw(tile);
      this.patterns.set(key, { id, text: `<pattern id="${id}" width="${pitch}" height="${pitch}" patternUnits="userSpaceOnUse">${tile}</pattern>` });
    }
    return `url(#${this.patterns.get(key).id})`;
  }

  paint(name, style) {
    const [, red, green, blue, alpha = 1] = /^rgba?\((\d+), (\d+), (\d+)(?:, ([\d.]+))?\)$/.exec(style) ?? [];
    const colour = red === undefined ? style : `#${[red, green, blue].map((part) => Number(part).toString(16).padStart(2, "0")).join("")}`;
    const opacity = this.globalAlpha * alpha;
    return `${name}="${escaped(colour)}"${opacity < 1 ? ` ${name}-opacity="${n(opacity)}"` : ""}`;
  }

  line() {
    const dash = this.dash.length ? ` stroke-dasharray="${this.dash.join(" ")}"` : "";
    return `fill="none" ${this.paint("stroke", this.strokeStyle)} stroke-width="${n(this.lineWidth)}"${dash}`;
  }

  /** Neighbours that look the same share an element. */
  shape(path, look) {
    const last = this.parts.at(-1);
    if (last?.look === look) last.path += path;
    else if (path) this.parts.push({ path, look });
  }

  text(text, x, y, look) {
    const anchor = { left: "start", center: "middle", right: "end" }[this.textAlign];
    this.parts.push({ text: `<text x="${n(x)}" y="${n(y)}" text-anchor="${anchor}" dominant-baseline="central" `
      + `style="font:${escaped(this.font)}" ${look}>${escaped(text)}</text>` });
  }

  toString() {
    return this.parts.map(({ text, path, look }) => text ?? `<path d="${path}" ${look}/>`).join("\n");
  }
}

const rectangle = (x, y, width, height) => `M${n(x)} ${n(y)}h${n(width)}v${n(height)}h${n(-width)}z`;

const MARGIN = 16, HEAD = 46, FOOT = 26; // around the picture, above each map, under it

/** The maps of all panels as they stand on the screen. Returns the text of an SVG file. */
export function pictureOf(panels, look, clock, moment, words) {
  const films = panels.map((panel) => panel.film), many = panels.length > 1;
  const scenes = panels.map((panel) => ({ ...panel.scene(look), marked: NONE }));
  const spared = scenes.every((scene) => scene.selected === NONE) ? BAND.bottom - 8 : 0; // nobody's page table is drawn
  const rows = [...new Set(panels.map(({ root }) => root.offsetTop))];
  const svg = new SvgContext(look.theme.bg);
  const width = Math.max(...panels.map(({ root, width: ofMap }) => root.offsetLeft + ofMap), 460) + MARGIN;
  let top = MARGIN;
  if (many) {
    line(svg, look, MARGIN, top + 8, clock.say(moment), "600 15px");
    top += 28;
  }
  const from = Math.min(...panels.map(({ root }) => root.offsetLeft));
  for (const row of rows) {
    const here = panels.flatMap((panel, index) => (panel.root.offsetTop === row ? [[panel, scenes[index]]] : []));
    for (const [panel, scene] of here) svg.at(MARGIN + panel.root.offsetLeft - from, top, (part) => drawPanel(part, look, panel, scene, spared));
    top += HEAD - spared + Math.max(...here.map(([, scene]) => scene.layout.height)) + FOOT;
  }
  let left = MARGIN;
  for (const [kind, text] of Object.entries(LEGEND)) {
    if (!isThere(kind, films)) continue;
    svg.at(left, top, (part) => drawSwatch(part, kind, scenes[0]));
    line(svg, look, left + 24, top + 9.5, text, "12px", 0.7);
    left += 44 + 6.2 * text.length;
  }
  const height = top + 18 + MARGIN, wide = n(Math.max(width, left));
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${wide} ${n(height)}" width="${wide}" height="${n(height)}" role="img">
<title>Page map, ${escaped(clock.say(moment))}</title>
<desc>${escaped(words)}</desc>
<defs>${[...svg.patterns.values()].map(({ text }) => text).join("")}</defs>
<rect width="100%" height="100%" ${svg.paint("fill", look.theme.bg)}/>
${svg}
</svg>
`;
}

function drawPanel(svg, look, panel, scene, spared) {
  const { film, step } = panel, { width } = scene.layout;
  const facts = panel.facts.map(([number, name]) => `${number.textContent} ${name}`);
  line(svg, look, 0, 8, `${panel.title.textContent}${panel.size.textContent && ` · ${panel.size.textContent}`} · ${step}`, "600 13px");
  const half = width < 560 ? 4 : facts.length;
  line(svg, look, 0, 24, facts.slice(0, half).join(" · "), "11px", 0.75);
  line(svg, look, 0, 38, facts.slice(half).join(" · "), "11px", 0.75);
  svg.at(0, HEAD - spared, (part) => drawMap(part, scene));
  if (film.hasHost) line(svg, look, 38, HEAD - spared + scene.layout.height + 10, panel.host.told, "11px", 0.75);
}

function line(svg, { theme }, x, y, text, font, alpha = 1) {
  Object.assign(svg, { textAlign: "left", font: `${font} ${theme.font}`, fillStyle: theme.fg, globalAlpha: alpha });
  svg.fillText(text, x, y);
  svg.globalAlpha = 1;
}
