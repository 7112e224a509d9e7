// How a page looks on a canvas. Nothing here touches the document: a context comes in, paint goes out.

import { CACHED, FREE, USED, isPin } from "./page_map_replay.js";

export const MERGED = 12; // smaller cells than these are painted in runs

/** An owner's, out of a list that owners take by turns. */
export const colourOf = (list, owner) => list[((owner % list.length) + list.length) % list.length];

/** Leaves the context's alpha at 1, as it finds it. */
export function drawPage(ctx, scene, page, owner, x, y, width, height) {
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
    ctx.fillStyle = texture(ctx, "dots", theme.fg, small, ratio);
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
    ctx.fillStyle = texture(ctx, "hatch", ink, small, ratio);
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

export function outline(ctx, x, y, size, colour, weight) {
  ctx.strokeStyle = colour;
  ctx.lineWidth = weight;
  ctx.strokeRect(x + weight / 2, y + weight / 2, size - weight, size - weight);
}

const textures = new Map();

/** A repeating pattern with lines (or dots) as fine as the cell asks for; sharp on any screen. */
export function texture(ctx, kind, colour, size, ratio) {
  const pitch = size >= 14 ? 6 : size >= 7 ? 4 : 3;
  const key = `${kind} ${colour} ${pitch} ${ratio}`;
  if (ctx.pattern) return ctx.pattern(key, pitch, (tile) => drawTile(tile, kind, colour, pitch)); // page_map_svg.js
  if (!textures.has(key)) {
    const side = Math.round(pitch * ratio);
    const tile = new OffscreenCanvas(side, side);
    const tileCtx = tile.getContext("2d");
    tileCtx.scale(side / pitch, side / pitch);
    drawTile(tileCtx, kind, colour, pitch);
    const pattern = ctx.createPattern(tile, "repeat");
    pattern.setTransform(new DOMMatrix().scale(pitch / side));
    textures.set(key, pattern);
  }
  return textures.get(key);
}

function drawTile(ctx, kind, colour, pitch) {
  ctx.fillStyle = ctx.strokeStyle = colour;
  ctx.beginPath();
  if (kind === "dots") {
    ctx.arc(pitch / 2, pitch / 2, pitch >= 6 ? 1 : 0.7, 0, 7);
    ctx.fill();
    return;
  }
  ctx.lineWidth = pitch >= 6 ? 1.5 : 1;
  for (const shift of [-pitch, 0, pitch]) {
    ctx.moveTo(shift - 1, pitch + 1);
    ctx.lineTo(shift + pitch + 1, -1);
  }
  ctx.stroke();
}

const ARROW = 6;

/** An arrow of the colour, on a ground that keeps it apart from what lies under it. */
export function drawArrow(ctx, fromX, fromY, toX, toY, colour, ground) {
  const length = Math.hypot(toX - fromX, toY - fromY) || 1, dx = (toX - fromX) / length, dy = (toY - fromY) / length;
  const baseX = toX - ARROW * dx, baseY = toY - ARROW * dy;
  for (const [line, weight] of [[ground, 5], [colour, 2]]) {
    ctx.strokeStyle = ctx.fillStyle = line;
    ctx.lineWidth = weight;
    ctx.beginPath();
    ctx.moveTo(fromX, fromY);
    ctx.lineTo(baseX, baseY);
    ctx.stroke();
    const half = ARROW / 2 + weight / 2;
    ctx.beginPath();
    ctx.moveTo(toX + (weight / 2) * dx, toY + (weight / 2) * dy);
    ctx.lineTo(baseX - half * dy, baseY + half * dx);
    ctx.lineTo(baseX + half * dy, baseY - half * dx);
    ctx.fill();
  }
}

/** A legend's swatch of 18 × 18, drawn as the pages are. */
export function drawSwatch(ctx, kind, look) {
  const refcount = { cached: 0, free: 0, shared: 2 }[kind] ?? 1;
  const map = { refcount: [refcount], filled: [kind === "partial" ? 6 : 16], pageSize: 16,
    copied: () => (kind === "partial hit" ? 10 : 0), state: () => (kind === "cached" ? CACHED : kind === "free" ? FREE : USED) };
  ctx.setTransform(look.ratio, 0, 0, look.ratio, 0, 0);
  ctx.clearRect(0, 0, 18, 18);
  if (kind === "copy") drawArrow(ctx, 1, 9, 16, 9, look.theme.fg, look.theme.bg);
  else drawPage(ctx, { ...look, map }, 0, 1, 0, 0, 18, 18);
  if (kind === "changed") outline(ctx, 0, 0, 18, look.theme.fg, 2);
}
