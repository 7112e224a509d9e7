// How full each pool was over all moments, and what became of sequences meanwhile.

import { texture } from "./page_map_cells.js";

const INSET = 8; // half a slider thumb

/** Where a moment stands, on a timeline as wide as the slider under it. */
export function timelineX(clock, moment, width) {
  return INSET + ((width - 2 * INSET) * moment) / (clock.end || 1);
}

/** Used pages solid, cached ones dotted above them, for as long as the film goes on. */
export function drawTimeline(ctx, { clock, film, width, height, theme, ratio }) {
  ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
  ctx.clearRect(0, 0, width, height);
  const span = width - 2 * INSET, floor = height - 1, scale = (height - 9) / film.numPages;
  const dots = texture(ctx, "dots", theme.fg, 7, ratio);
  const over = timelineX(clock, clock.momentOf(film, film.numFrames - 1), width) - INSET;
  for (let x = 0; x <= Math.min(over, span - 1); x++) {
    const moment = (clock.end * x) / span;
    const { used, cached } = film.occupancy(clock.frameAt(film, clock.inSeconds ? moment : Math.round(moment)));
    const top = floor - used * scale;
    ctx.fillStyle = theme.accent;
    ctx.globalAlpha = 0.75;
    ctx.fillRect(INSET + x, top, 1, used * scale);
    ctx.fillStyle = theme.fg;
    ctx.globalAlpha = 0.16;
    ctx.fillRect(INSET + x, top - cached * scale, 1, cached * scale);
    ctx.fillStyle = dots;
    ctx.globalAlpha = 0.6;
    ctx.fillRect(INSET + x, top - cached * scale, 1, cached * scale);
  }
  ctx.globalAlpha = 0.4;
  ctx.fillStyle = theme.fg;
  ctx.fillRect(INSET, floor, span, 1);
  ctx.fillRect(INSET, floor - film.numPages * scale, over, 0.5);
  ctx.globalAlpha = 1;
  for (const { frame, kind } of film.moves) drawMove(ctx, timelineX(clock, clock.momentOf(film, frame), width), kind, theme);
}

/** Down: a sequence gave its pages back, filled if they were lost, hollow if host memory has them; up: it is back. */
function drawMove(ctx, x, kind, theme) {
  const [base, tip] = kind === "resumed" ? [6.5, 0.5] : [0.5, 6.5];
  ctx.beginPath();
  ctx.moveTo(x - 3.5, base);
  ctx.lineTo(x + 3.5, base);
  ctx.lineTo(x, tip);
  ctx.closePath();
  ctx.fillStyle = kind === "preempted" ? "#D55E00" : theme.bg;
  ctx.fill();
  ctx.strokeStyle = kind === "preempted" ? "#D55E00" : theme.fg;
  ctx.lineWidth = 1;
  ctx.stroke();
}

/** The same in words. */
export function describeMoves(film) {
  const counts = { preempted: 0, swapped: 0, resumed: 0 };
  for (const { kind } of film.moves) counts[kind]++;
  const { preempted, swapped, resumed } = counts;
  return [preempted && `${preempted} preempted`, swapped && `${swapped} swapped out`, resumed && `${resumed} back from host memory`]
    .filter(Boolean).join(", ");
}
