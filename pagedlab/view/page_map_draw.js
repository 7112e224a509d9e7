// Where pages stand on a canvas and how they look. Nothing here touches the document: a context comes in, paint goes out.

import { CACHED, FREE, NONE, USED, holesOf, isPin } from "./page_map_replay.js";

const LARGEST = 48, COMFORTABLE = 26, SMALLEST = 3; // sides of a cell, in pixels
const MERGED = 12; // smaller cells than these are painted in runs
const GUTTER = 38; // row numbers
const BAND = { title: 12, numbers: 32, top: 39, height: 26, bottom: 100 }; // the logical row above the pages
export const TIMELINE_INSET = 8; // half a slider thumb

/** An owner's, out of a list that owners take by turns. */
export const colourOf = (list, owner) => list[((owner % list.length) + list.length) % list.length];

/** Cells as large as fit, up to a comfortable size; then full rows; then wide rather than tall. Columns in eights. */
export function layout(numPages, width, height) {
  const room = width - GUTTER;
  let cell = SMALLEST, columns = Math.max(1, Math.floor(room / SMALLEST)), best = 0;
  for (let tried = Math.min(8, numPages); tried <= numPages && tried * SMALLEST <= room; tried += 8) {
    const fitting = Math.min(LARGEST, Math.floor(room / tried), Math.floor(height / Math.ceil(numPages / tried)));
    const merit = Math.min(fitting, COMFORTABLE) + (numPages % tried ? 0 : 0.5);
    if (fitting >= SMALLEST && merit >= best) [cell, columns, best] = [fitting, tried, merit];
  }
  const rows = Math.ceil(numPages / columns);
  return { cell, gap: cell >= 14 ? 2 : cell >= 5 ? 1 : 0, columns, rows, width, height: BAND.bottom + rows * cell + 2 };
}

/** Upper left corner of a page's cell. */
export function place(layout, page) {
  const { cell, columns } = layout;
  return [GUTTER + (page % columns) * cell, BAND.bottom + Math.floor(page / columns) * cell];
}

/** The page at a point of the canvas: of the grid, or of the selected sequence's logical row; -1 if there is none. */
export function pageAt(layout, row, x, y, numPages) {
  const { cell, columns } = layout;
  if (row && y >= BAND.top && y < BAND.top + BAND.height) {
    const logical = Math.floor((x - GUTTER) / logicalWidth(layout, row)) + folded(row);
    return row[logical] ?? -1;
  }
  const column = Math.floor((x - GUTTER) / cell), line = Math.floor((y - BAND.bottom) / cell);
  const page = line * columns + column;
  return column >= 0 && column < columns && line >= 0 && page < numPages ? page : -1;
}

function logicalWidth(layout, row) {
  return Math.min(36, (layout.width - GUTTER) / Math.max(1, row.length - folded(row)));
}

/** Logical pages that have no place of their own in the row: all that were given back share two. */
function folded(row) {
  return Math.max(0, holesOf(row) - 2);
}

/**
 * scene: {map, layout, theme: {fg, bg, accent}, colours, textColours, ratio, selected: sequence or -1, caption,
 * marked: page or -1, touched: Set of pages}
 */
export function drawMap(ctx, scene) {
  const { map, layout, theme, ratio, selected } = scene;
  ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
  ctx.clearRect(0, 0, layout.width, layout.height);
  drawRowNumbers(ctx, scene);
  const row = map.sequences.get(selected)?.pages ?? [];
  drawPages(ctx, scene, row);
  drawBand(ctx, scene, row);
  if (scene.marked >= 0) {
    const [x, y] = place(layout, scene.marked);
    outline(ctx, x - 1, y - 1, layout.cell - layout.gap + 2, theme.accent, 2);
  }
}

function drawPages(ctx, scene, row) {
  const { map, layout, theme, selected, touched } = scene;
  const { cell, gap, columns, rows } = layout;
  const owners = map.firstOwners(), mine = row.length ? new Set(row) : null;
  for (const page of row) if (page !== NONE) owners[page] = selected;
  const merge = cell < MERGED; // thousands of small cells: neighbours that look the same are painted as one
  const look = (page) => (map.refcount[page] && map.filled[page] < map.pageSize ? page + 0.5 // like no other
    : map.refcount[page] ? owners[page] * 2 + (map.refcount[page] > 1) : -1 - map.published[page]);
  for (let page = 0, next; page < map.numPages; page = next) {
    next = page + 1;
    if (merge) for (const same = look(page); next % columns && next < map.numPages && look(next) === same; ) next++;
    const [x, y] = place(layout, page);
    const width = (next - page) * cell - gap, height = cell - gap;
    drawPage(ctx, scene, page, owners[page], x, y, width, height);
    if (mine && !mine.has(page)) {
      ctx.globalAlpha = 0.72; // the others step back
      ctx.fillStyle = theme.bg;
      ctx.fillRect(x, y, width, height);
      ctx.globalAlpha = 1;
    }
  }
  if (merge && gap)
    for (let column = 1; column < columns; column++)
      ctx.clearRect(GUTTER + column * cell - gap, BAND.bottom, gap, rows * cell);
  if (cell < 6) return;
  for (const page of touched) outline(ctx, ...place(layout, page), cell - gap, theme.fg, cell >= 18 ? 2 : 1);
}

/** Leaves the context's alpha at 1, as it finds it. */
function drawPage(ctx, scene, page, owner, x, y, width, height) {
  if (scene.map.state(page) === USED) drawUsed(ctx, scene, page, owner, x, y, width, height);
  else drawUnused(ctx, scene, scene.map.state(page), x, y, width, height);
}

function drawUnused(ctx, { theme, ratio }, state, x, y, width, height) {
  const small = Math.min(width, height);
  ctx.fillStyle = theme.fg;
  ctx.globalAlpha = state === FREE ? 0.05 : 0.14;
  ctx.fillRect(x, y, width, height);
  if (state === CACHED) {
    ctx.globalAlpha = small >= 12 ? 0.75 : 0.5;
    ctx.fillStyle = texture("dots", theme.fg, small, ratio);
    ctx.fillRect(x, y, width, height);
  }
  if (small >= 12) {
    ctx.globalAlpha = state === FREE ? 0.14 : 0.75;
    ctx.strokeStyle = theme.fg;
    ctx.lineWidth = 1;
    ctx.strokeRect(x + 0.5, y + 0.5, width - 1, height - 1);
  }
  ctx.globalAlpha = 1;
}

function drawUsed(ctx, { map, theme, colours, textColours, ratio }, page, owner, x, y, width, height) {
  const small = Math.min(width, height), references = map.refcount[page];
  const colour = colourOf(colours, owner), ink = colourOf(textColours, owner);
  const full = (width * map.filled[page]) / map.pageSize;
  ctx.fillStyle = colour;
  if (full < width) {
    ctx.globalAlpha = 0.3;
    ctx.fillRect(x + full, y, width - full, height);
    ctx.globalAlpha = 1;
  }
  ctx.fillRect(x, y, full, height);
  if (references > 1) {
    ctx.globalAlpha = 0.45;
    ctx.fillStyle = texture("hatch", ink, small, ratio);
    ctx.fillRect(x, y, width, height);
    ctx.globalAlpha = 1;
  }
  if (small >= MERGED && map.copied(page)) { // a line under the slots that were copied, not computed
    const line = Math.max(2, Math.round(height / 12));
    ctx.fillStyle = ink;
    ctx.fillRect(x + 2, y + height - line - 2, ((width - 4) * map.copied(page)) / map.pageSize, line);
  }
  const tag = references > 1 ? `×${references}` : isPin(owner) ? "pin" : String(owner);
  if (small < 16 || tag.length * 7 > width) return;
  ctx.font = `600 ${small >= 26 ? 12 : 10}px ${theme.font}`;
  ctx.textAlign = "center";
  ctx.textBaseline = "middle";
  const share = full / width, hatched = references > 1;
  if (hatched || (share > 0.25 && share < 0.75)) { // a ground of its own, over the hatch or the edge of what is filled
    ctx.lineWidth = hatched ? 5 : 3;
    ctx.lineJoin = "round";
    ctx.strokeStyle = colour;
    ctx.strokeText(tag, x + width / 2, y + height / 2 + 0.5);
  }
  ctx.fillStyle = hatched || share > 0.25 ? ink : theme.fg;
  ctx.fillText(tag, x + width / 2, y + height / 2 + 0.5);
}

function outline(ctx, x, y, size, colour, weight) {
  ctx.strokeStyle = colour;
  ctx.lineWidth = weight;
  ctx.strokeRect(x + weight / 2, y + weight / 2, size - weight, size - weight);
}

function drawRowNumbers(ctx, { layout, theme }) {
  ctx.font = `10px ${theme.font}`;
  ctx.textAlign = "right";
  ctx.textBaseline = "middle";
  ctx.fillStyle = theme.fg;
  ctx.globalAlpha = 0.6;
  const every = Math.ceil(14 / layout.cell);
  for (let row = 0; row < layout.rows; row += every) {
    const [, y] = place(layout, row * layout.columns);
    ctx.fillText(String(row * layout.columns), GUTTER - 8, y + (layout.cell - layout.gap) / 2 + 0.5);
  }
  ctx.globalAlpha = 1;
}

/** The selected sequence's page table: its logical pages in order, each linked to its physical page. */
function drawBand(ctx, scene, row) {
  const { layout, theme, colours, selected, caption } = scene;
  const width = logicalWidth(layout, row), holes = holesOf(row), skipped = folded(row);
  const held = row.slice(holes).map((page, index) => [page, holes + index, GUTTER + (holes - skipped + index) * width]);
  ctx.textBaseline = "middle";
  ctx.textAlign = "left";
  ctx.fillStyle = theme.fg;
  ctx.font = `12px ${theme.font}`;
  ctx.globalAlpha = selected !== NONE ? 1 : 0.65;
  ctx.fillText(caption, GUTTER, BAND.title);
  ctx.globalAlpha = 1;
  if (!row.length) for (let place = 0; place < 4; place++) ghost(ctx, theme, GUTTER + place * 36, 34);
  if (holes) drawHoles(ctx, scene, holes, (holes - skipped) * width);
  const colour = colourOf(colours, selected);
  const size = layout.cell - layout.gap;
  for (const [line, weight, alpha] of [[theme.bg, row.length > 48 ? 2.5 : 4.5, 0.85], [colour, row.length > 48 ? 1 : 2, 1]]) {
    ctx.strokeStyle = line;
    ctx.lineWidth = weight;
    ctx.globalAlpha = alpha;
    ctx.beginPath();
    for (const [page, , left] of held) {
      const from = left + width / 2, top = BAND.top + BAND.height;
      const [x, y] = place(layout, page);
      const middle = (top + y) / 2;
      ctx.moveTo(from, top);
      ctx.bezierCurveTo(from, middle, x + size / 2, middle, x + size / 2, y);
    }
    ctx.stroke();
  }
  ctx.globalAlpha = 1;
  for (const [page, logical, x] of held) {
    const [pageX, pageY] = place(layout, page);
    drawPage(ctx, scene, page, selected, x, BAND.top, width - (width > 6 ? 2 : 0), BAND.height);
    ctx.fillStyle = theme.fg;
    ctx.beginPath();
    ctx.arc(pageX + size / 2, pageY, Math.min(3, layout.cell / 4), 0, 7);
    ctx.fill();
    if (width < 15) continue;
    ctx.font = `9px ${theme.font}`;
    ctx.textAlign = "center";
    ctx.fillText(String(logical), x + width / 2 - 1, BAND.numbers);
  }
}

/** Where the pages were that a sliding window has passed: one gap, under the numbers of all of them. */
function drawHoles(ctx, { theme }, holes, width) {
  ghost(ctx, theme, GUTTER, width - 2);
  if (width < 15) return;
  ctx.font = `9px ${theme.font}`;
  ctx.textAlign = "center";
  ctx.fillText(holes > 1 ? `0–${holes - 1}` : "0", GUTTER + width / 2 - 1, BAND.numbers);
  if (width >= 60) ctx.fillText("given back", GUTTER + width / 2 - 1, BAND.top + BAND.height / 2 + 0.5);
}

/** An empty place in the row. */
function ghost(ctx, theme, x, width) {
  ctx.strokeStyle = theme.fg;
  ctx.globalAlpha = 0.35;
  ctx.lineWidth = 1;
  ctx.setLineDash([3, 3]);
  ctx.strokeRect(x + 0.5, BAND.top + 0.5, width - 1, BAND.height - 1);
  ctx.setLineDash([]);
  ctx.globalAlpha = 1;
}

const textures = new Map();

/** A repeating pattern with lines (or dots) as fine as the cell asks for; sharp on any screen. */
function texture(kind, colour, size, ratio) {
  const pitch = size >= 14 ? 6 : size >= 7 ? 4 : 3;
  const key = `${kind} ${colour} ${pitch} ${ratio}`;
  if (!textures.has(key)) {
    const side = Math.round(pitch * ratio);
    const tile = new OffscreenCanvas(side, side);
    const ctx = tile.getContext("2d");
    ctx.scale(side / pitch, side / pitch);
    ctx.fillStyle = ctx.strokeStyle = colour;
    if (kind === "dots") {
      ctx.beginPath();
      ctx.arc(pitch / 2, pitch / 2, pitch >= 6 ? 1 : 0.7, 0, 7);
      ctx.fill();
    } else {
      ctx.lineWidth = pitch >= 6 ? 1.5 : 1;
      ctx.beginPath();
      for (const shift of [-pitch, 0, pitch]) {
        ctx.moveTo(shift - 1, pitch + 1);
        ctx.lineTo(shift + pitch + 1, -1);
      }
      ctx.stroke();
    }
    const pattern = ctx.createPattern(tile, "repeat");
    pattern.setTransform(new DOMMatrix().scale(pitch / side));
    textures.set(key, pattern);
  }
  return textures.get(key);
}

/** The pool's occupancy over the whole film, with every preemption marked. */
export function drawTimeline(ctx, { film, width, height, theme, ratio }) {
  ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
  ctx.clearRect(0, 0, width, height);
  const last = film.numFrames - 1, span = width - 2 * TIMELINE_INSET, floor = height - 1, scale = (height - 9) / film.numPages;
  const dots = texture("dots", theme.fg, 7, ratio);
  for (let x = 0; x < span; x++) {
    const { used, cached } = film.occupancy(Math.round((last * x) / span));
    const top = floor - used * scale;
    ctx.fillStyle = theme.accent;
    ctx.globalAlpha = 0.75;
    ctx.fillRect(TIMELINE_INSET + x, top, 1, used * scale);
    ctx.fillStyle = theme.fg;
    ctx.globalAlpha = 0.16;
    ctx.fillRect(TIMELINE_INSET + x, top - cached * scale, 1, cached * scale);
    ctx.fillStyle = dots;
    ctx.globalAlpha = 0.6;
    ctx.fillRect(TIMELINE_INSET + x, top - cached * scale, 1, cached * scale);
  }
  ctx.globalAlpha = 0.4;
  ctx.fillStyle = theme.fg;
  ctx.fillRect(TIMELINE_INSET, floor, span, 1);
  ctx.fillRect(TIMELINE_INSET, floor - film.numPages * scale, span, 0.5);
  ctx.globalAlpha = 1;
  ctx.fillStyle = "#D55E00";
  for (const preempted of film.preempted) {
    const x = timelineX(film, preempted, width);
    ctx.beginPath();
    ctx.moveTo(x - 4, 0);
    ctx.lineTo(x + 4, 0);
    ctx.lineTo(x, 6);
    ctx.fill();
  }
}

/** Where a frame stands on the timeline. */
export function timelineX(film, frame, width) {
  return TIMELINE_INSET + ((width - 2 * TIMELINE_INSET) * frame) / Math.max(1, film.numFrames - 1);
}

/** A legend's swatch of 18 × 18, drawn as the pages are. */
export function drawSwatch(ctx, kind, look) {
  const refcount = { cached: 0, free: 0, shared: 2 }[kind] ?? 1;
  const map = { refcount: [refcount], filled: [kind === "partial" ? 6 : 16], pageSize: 16,
    copied: () => (kind === "copied" ? 10 : 0), state: () => (kind === "cached" ? CACHED : kind === "free" ? FREE : USED) };
  ctx.setTransform(look.ratio, 0, 0, look.ratio, 0, 0);
  ctx.clearRect(0, 0, 18, 18);
  drawPage(ctx, { ...look, map }, 0, 1, 0, 0, 18, 18);
  if (kind === "changed") outline(ctx, 0, 0, 18, look.theme.fg, 2);
}
