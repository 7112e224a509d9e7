// Parts of the page map that are ordinary document elements: the sequence list, the tooltip, and words for both.
// Token texts come from a model and are not trusted: they enter the document as text, never as markup.

import { CACHED, FREE, PRUNED, holesOf, isPin, statusOf } from "./page_map_replay.js";
import { colourOf } from "./page_map_cells.js";

/** A sign of 16 × 16, drawn: not every font has the media signs. */
export function icon(path) {
  const [svg, shape] = ["svg", "path"].map((tag) => document.createElementNS("http://www.w3.org/2000/svg", tag));
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("aria-hidden", "true");
  shape.setAttribute("d", path);
  svg.append(shape);
  return svg;
}

/** An element with attributes and children; strings become text. */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** Text that is there already is not written again: that would make the browser lay out anew. */
export function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function resize(canvas, width, height, ratio) {
  const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== w || canvas.height !== h) Object.assign(canvas, { width: w, height: h });
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
}

const numbers = new Intl.NumberFormat("en"); // toLocaleString would make one each time

export const withCommas = (number) => (typeof number === "number" ? numbers.format(number) : number);

export const plural = (count, noun) => `${withCommas(count)} ${noun}${count === 1 ? "" : "s"}`;

const STATE_NAMES = ["free", "cached", "used"];
const FINISH_NAMES = ["stopped", "reached its length", "aborted", "failed", "pruned: a likelier beam took its place"];

/** A token as one line that shows what it is made of: line ends and tabs are drawn, not obeyed. */
export function visible(text) {
  return text.replace(/\r?\n/g, "⏎").replace(/\t/g, "⇥").replace(/[\u0000-\u001f\u007f\u202a-\u202e\u2066-\u2069]/g, "�");
}

const STATUS_NAMES = { swapped: "swapped out" }; // the others are called what they are

export function describeSequence(view, id) {
  const tokens = view.computed < view.prompt ? `${view.computed} of ${view.prompt} prompt tokens`
    : `${view.prompt} + ${view.computed - view.prompt} tokens`;
  const status = statusOf(view, id);
  if (status === "unpinned") return "is taken off";
  if (status === "pinned") return `holds ${plural(view.pages.length, "page")} of a prefix`;
  const holes = holesOf(view.pages);
  const held = `${holes ? `${view.pages.length - holes} of ` : ""}${plural(view.pages.length, "page")}`;
  if (status === "running") return `${held} · ${tokens}`;
  if (status === "finished") return `${FINISH_NAMES[view.finish] ?? "ended"} · ${tokens}`;
  if (status === "swapped") return `${plural(view.swapped, "token")} in host memory, waits`;
  if (status === "preempted") return `lost its pages, waits again`;
  return `waits · ${plural(view.prompt, "prompt token")}`;
}

export function describePage(film, map, page) {
  const parts = [`Page ${page}: ${STATE_NAMES[map.state(page)]}`];
  if (map.refcount[page] > 1) parts.push(`${map.refcount[page]} references`);
  for (const id of map.owners(page).slice(0, 6))
    parts.push(`logical page ${map.sequences.get(id).pages.indexOf(page)} of ${film.name(id)}`);
  if (map.copied(page)) parts.push(`its first ${plural(map.copied(page), "slot")} copied from a page that begins alike`);
  if (map.state(page) !== FREE) parts.push(`${map.filled[page]} of ${plural(map.pageSize, "slot")} filled`);
  return parts.join(", ");
}

/** The tooltip: what a page is, who owns it, and the text of its tokens. */
export class Tooltip {
  constructor() {
    this.element = h("div", { class: "plm-tooltip", role: "tooltip", hidden: "" });
  }

  hide() {
    this.element.hidden = true;
  }

  /** x, y: where it points to, within `bounds`, a rectangle of {width, height}. */
  show(film, map, page, x, y, bounds) {
    this.element.replaceChildren(...this.content(film, map, page));
    this.element.hidden = false;
    const { offsetWidth: width, offsetHeight: height } = this.element;
    const left = x + 16 + width > bounds.width ? x - width - 12 : x + 16;
    this.element.style.left = `${Math.max(4, left)}px`;
    this.element.style.top = `${Math.max(4, Math.min(y + 14, bounds.height - height - 4))}px`;
  }

  content(film, map, page) {
    const state = map.state(page), references = map.refcount[page];
    const head = h("div", { class: "plm-tooltip-head" }, h("b", {}, `Page ${page}`),
      h("span", { class: "plm-pill" }, STATE_NAMES[state]));
    if (state === FREE) return [head, h("p", {}, "Blank: it holds nothing.")];
    const facts = h("dl");
    const fact = (name, ...values) => facts.append(h("dt", {}, name), h("dd", {}, ...values));
    fact("references", references ? String(references) : "none: its content can still be hit");
    const owners = map.owners(page);
    if (owners.length)
      fact(owners.length > 1 ? "owners" : "owner", ...owners.slice(0, 6).map((id) =>
        h("div", {}, film.name(id), h("i", {}, `logical page ${map.sequences.get(id).pages.indexOf(page)}`))));
    if (owners.length > 6) fact("", `and ${owners.length - 6} more`);
    const author = map.contentSequence[page];
    if (state === CACHED && author >= 0)
      fact("left by", h("div", {}, film.name(author), h("i", {}, `logical page ${map.contentLogical[page]}`)));
    fact("filled", `${map.filled[page]} of ${plural(map.pageSize, "slot")}`);
    if (map.copied(page)) fact("copied", `its first ${map.copied(page)}, from a page that begins alike`);
    const texts = film.texts(map, page);
    if (!texts.length) return [head, facts];
    return [head, facts, h("div", { class: "plm-tokens" }, ...texts.map((text) => h("span", {}, visible(text))))];
  }
}

/** A sequence's number on its colour. */
function colourBadge(badge, film, id) {
  const { colours, text_colours: inks } = film.header;
  badge.style.background = colourOf(colours, id);
  badge.style.color = colourOf(inks, id);
  badge.textContent = isPin(id) ? "pin" : id;
}

const MOST_BADGES = 8;

/** What is in host memory. A trace that never put anything there shows nothing of it. */
export class HostStrip {
  constructor() {
    this.swatch = h("canvas", { "aria-hidden": "true" });
    this.cached = h("span");
    this.badges = h("span", { "aria-hidden": "true" });
    this.swapped = h("span");
    this.element = h("div", { class: "plm-host", hidden: "" }, h("span", {}, "Host memory"), this.swatch, this.cached,
      this.badges, this.swapped);
  }

  update(film, map, counts) {
    this.element.hidden = !film.hasHost;
    if (!film.hasHost) return;
    const ids = [...map.sequences.keys()].filter((id) => map.sequences.get(id).swapped);
    this.told = `Host memory: ${plural(counts.hostPages, "cached page")}, ${plural(counts.hostTokens, "token")} of ${ids.length} swapped out`;
    this.cached.replaceChildren(h("b", {}, String(counts.hostPages)), counts.hostPages === 1 ? " cached page" : " cached pages");
    this.badges.replaceChildren(...ids.slice(0, MOST_BADGES).map((id) => {
      const badge = h("span", { class: "plm-badge" });
      colourBadge(badge, film, id);
      return badge;
    }));
    this.swapped.replaceChildren(h("b", {}, String(ids.length)), " swapped out",
      ids.length ? `, ${plural(counts.hostTokens, "token")}` : "");
  }
}

const ROW = 42; // pixels

/** The list of sequences: only the rows in sight are in the document, so thousands cost nothing. */
export class SequenceList {
  constructor(film, select) {
    this.film = film;
    this.select = select;
    this.ids = [];
    this.selected = -1;
    this.heading = h("div", { class: "plm-list-head" });
    this.space = h("div", { class: "plm-list-space", role: "presentation" });
    this.box = h("div", { class: "plm-list", role: "listbox", tabindex: "0", "aria-label": "Sequences",
      "data-lm-suppress-shortcuts": "true" }, this.space);
    this.element = h("div", { class: "plm-side" }, this.heading, this.box);
    this.name = `plm-${Math.random().toString(36).slice(2)}`;
    this.box.addEventListener("scroll", () => {
      this.measure();
      this.draw();
    });
    this.box.addEventListener("keydown", (event) => this.key(event));
    this.box.addEventListener("click", (event) => {
      const row = event.target.closest("[data-sequence]");
      if (row) this.select(Number(row.dataset.sequence));
    });
  }

  /** Before anything is written in a frame: reading afterwards would make the browser lay out in between. */
  measure() {
    this.top = this.box.scrollTop;
    this.height = this.box.clientHeight;
  }

  update(map, counts, selected) {
    this.map = map;
    this.selected = selected;
    const alive = [], over = [];
    for (const [id, view] of map.sequences) {
      const status = statusOf(view, id);
      if (status !== "unpinned") (status === "finished" ? over : alive).push(id);
    }
    this.ids = alive.concat(over.reverse());
    const waiting = counts.waiting + counts.preempted + counts.swapped;
    write(this.heading, `${counts.running} running · ${waiting} waiting · ${counts.finished} finished`);
    this.space.style.height = `${this.ids.length * ROW}px`;
    this.draw();
  }

  draw() {
    const first = Math.floor(this.top / ROW);
    const shown = this.ids.slice(first, first + Math.ceil(this.height / ROW) + 1);
    while (this.space.children.length > shown.length) this.space.lastChild.remove();
    while (this.space.children.length < shown.length) this.space.append(this.emptyRow());
    // Rows are filled anew, not made anew: a click begins and ends on the same element even while the film plays.
    shown.forEach((id, index) => this.fill(this.space.children[index], id, first + index));
    const active = shown.includes(this.selected) ? `${this.name}-${this.selected}` : "";
    this.box.setAttribute("aria-activedescendant", active);
  }

  emptyRow() {
    return h("div", { role: "option" }, h("span", { class: "plm-badge" }), h("b"), h("span", { class: "plm-status" }), h("small"));
  }

  fill(row, id, position) {
    const view = this.map.sequences.get(id), status = statusOf(view, id), label = this.film.label(id);
    const state = status === "preempted" && view.preemptions > 1 ? `preempted ×${view.preemptions}`
      : view.finish === PRUNED ? "pruned" : STATUS_NAMES[status] ?? status;
    const told = [id, label, state, describeSequence(view, id), position, this.ids.length, id === this.selected].join("\n");
    if (row.told === told) return;
    row.told = told;
    const [badge, name, stateBox, detail] = row.children;
    colourBadge(badge, this.film, id);
    name.textContent = /^\d/.test(label) ? `request ${label}` : label;
    stateBox.textContent = state;
    detail.textContent = describeSequence(view, id);
    row.className = `plm-row plm-${status}`;
    row.id = `${this.name}-${id}`;
    row.dataset.sequence = id;
    row.style.top = `${position * ROW}px`;
    row.setAttribute("aria-selected", String(id === this.selected));
    row.setAttribute("aria-posinset", position + 1);
    row.setAttribute("aria-setsize", this.ids.length);
  }

  key(event) {
    const move = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!move || !this.ids.length) return;
    event.preventDefault();
    const at = this.ids.indexOf(this.selected);
    const next = at < 0 ? (move > 0 ? 0 : this.ids.length - 1) : Math.max(0, Math.min(this.ids.length - 1, at + move));
    const top = next * ROW;
    if (top < this.box.scrollTop) this.box.scrollTop = top;
    if (top + ROW > this.box.scrollTop + this.box.clientHeight) this.box.scrollTop = top + ROW - this.box.clientHeight;
    if (this.ids[next] !== this.selected) this.select(this.ids[next]);
  }
}
