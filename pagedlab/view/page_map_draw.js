// Where pages stand on a canvas, and what is drawn over them: links, copies, outlines.

import { NONE, holesOf } from "./page_map_replay.js";
import { MERGED, colourOf, drawArrow, drawPage, outline } from "./page_map_cells.js";

const LARGEST = 48, COMFORTABLE = 26, SMALLEST = 3; // sides of a cell, in pixels
const GUTTER = 38; // row numbers
export const BAND = { title: 12, numbers: 32, top: 39, height: 26, bottom: 100 }; // the logical row above the pages

/** Cells as large as fit, up to a comfortable size; then full rows; then wide rather than tall. Columns in eights. */
export function layout(numPages, width, height) {
  const room = width - GUTTER;
  let cell = SMALLEST, columns = Math.max(1, Math.floor(room / SMALLEST)), best = 0;
  for (let tried = Math.min(8, numPages); tried <= numPages && tried * SMALLEST <= room; tried += 8) {
    const fitting = Math.min(LARGEST, Math.floor(room / tried), Math.floor(height / Math.ceil(numPages / tried)));
    const merit = Math.min(fitting, COMFORTABLE) + (numPages % tried ? 0 : 0.5);
    if (fitting >= SMALLEST && merit >= best) [cell, columns, best] = [fitting, tried, merit];
  }
  return laidOut(numPages, columns, cell, width);
}

/** The same memory, cut into pages of another size, comes out at about the same size: the full width, and the height. */
export function layoutOfMany(numPages, width, height) {
  const room = width - GUTTER;
  let cell = SMALLEST, columns = Math.max(1, Math.floor(room / SMALLEST)), best = Infinity;
  for (let tried = 4; tried * SMALLEST <= room; tried += 4) {
    const fitting = Math.min(LARGEST, Math.floor(room / tried));
    const misfit = Math.abs(Math.ceil(numPages / tried) * fitting - height) + room - tried * fitting;
    if (misfit < best) [cell, columns, best] = [fitting, tried, misfit];
  }
  return laidOut(numPages, columns, cell, width);
}

function laidOut(numPages, columns, cell, width) {
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

/** A canvas of pages, and what it shows already: only pages that look different are painted again. */
export class PageLayer {
  constructor(canvas) {
    this.ctx = canvas.getContext("2d");
  }

  /** scene: as of drawMap. */
  draw(scene) {
    const { map, layout, theme, ratio } = scene;
    const ground = [map.numPages, ...Object.values(layout), ratio, ...Object.values(theme)].join();
    if (ground !== this.ground) {
      this.ground = ground;
      this.looks = new Float64Array(map.numPages).fill(NaN);
      clear(this.ctx, scene);
      drawRowNumbers(this.ctx, scene);
    }
    this.looks = drawPages(this.ctx, scene, this.looks);
  }
}

/**
 * Everything, on a context that shows nothing yet. scene: {map, layout, theme: {fg, bg, accent, font}, colours,
 * textColours, ratio, selected: sequence or NONE, caption, marked: page or NONE, changes: of the frame}
 */
export function drawMap(ctx, scene) {
  drawRowNumbers(ctx, scene);
  drawPages(ctx, scene, []);
  if (scene.selected === NONE) drawChanges(ctx, scene); // a file does not say what one could select
  else drawOver(ctx, scene);
}

export function clear(ctx, { layout, ratio }) {
  ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
  ctx.clearRect(0, 0, layout.width, layout.height);
}

/** What lies over the pages. */
export function drawOver(ctx, scene) {
  const { map, layout, theme, selected } = scene;
  drawChanges(ctx, scene);
  drawBand(ctx, scene, map.sequences.get(selected)?.pages ?? []);
  if (scene.marked >= 0) {
    const [x, y] = place(layout, scene.marked);
    outline(ctx, x - 1, y - 1, layout.cell - layout.gap + 2, theme.accent, 2);
  }
}

/** Paint all pages that do not look as they are `known` to. Returns how they look now: a number each. */
function drawPages(ctx, scene, known) {
  const { map, layout, theme, selected } = scene;
  const { cell, gap, columns, rows } = layout;
  const row = map.sequences.get(selected)?.pages ?? [];
  const owners = map.firstOwners(), mine = row.length ? new Uint8Array(map.numPages) : null;
  for (const page of row) {
    if (page === NONE) continue;
    owners[page] = selected;
    mine[page] = 1;
  }
  const merge = cell < MERGED; // thousands of small cells: neighbours that look the same are painted as one
  const looks = looksOf(map, owners, mine, merge);
  let painted = false;
  for (let page = 0, next; page < map.numPages; page = next) {
    next = page + 1;
    if (looks[page] === known[page]) continue;
    painted = true;
    if (merge && !(map.refcount[page] && map.filled[page] < map.pageSize)) // how far it is filled is its own
      while (next % columns && next < map.numPages && looks[next] === looks[page]) next++;
    const [x, y] = place(layout, page);
    const width = (next - page) * cell - gap, height = cell - gap;
    if (known.length) ctx.clearRect(x, y, width, height);
    drawPage(ctx, scene, page, owners[page], x, y, width, height);
    if (!mine || mine[page]) continue;
    ctx.globalAlpha = 0.72; // the others step back
    ctx.fillStyle = theme.bg;
    ctx.fillRect(x, y, width, height);
    ctx.globalAlpha = 1;
  }
  if (merge && gap && painted)
    for (let column = 1; column < columns; column++)
      ctx.clearRect(GUTTER + column * cell - gap, BAND.bottom, gap, rows * cell);
  return looks;
}

/** All that decides how a page is painted, as one number; those of another frame are compared with these. */
function looksOf(map, owners, mine, coarse) {
  const looks = new Float64Array(map.numPages), { refcount, filled, published } = map, radix = map.pageSize + 1;
  for (let page = 0; page < map.numPages; page++) {
    const references = coarse ? Math.min(2, refcount[page]) : refcount[page];
    let look = (owners[page] * 4096 + references) * radix + (references ? filled[page] : published[page]);
    look = look * radix + (coarse ? 0 : map.copied(page));
    looks[page] = look * 3 + (mine ? 1 + mine[page] : 0);
  }
  return looks;
}

/** Pages that this frame gave out or took over, and from where to where it copied. */
function drawChanges(ctx, { layout, theme, changes }) {
  const { cell, gap } = layout;
  if (cell < 6) return;
  for (const page of changes.pages) outline(ctx, ...place(layout, page), cell - gap, theme.fg, cell >= 18 ? 2 : 1);
  for (const [from, to] of changes.copies) {
    const [[fromX, fromY], [toX, toY]] = [place(layout, from), place(layout, to)].map(([x, y]) => [x + cell / 2, y + cell / 2]);
    drawArrow(ctx, fromX, fromY, toX, toY, theme.fg, theme.bg);
  }
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
  const thin = row.length > 48 ? 0.5 : 1; // a colour alone may be pale on this ground: it has an edge
  for (const [line, weight, alpha] of [[theme.bg, 5 * thin, 0.85], [theme.fg, 2.8 * thin, 0.5], [colour, 1.8 * thin, 1]]) {
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

