// One film's map: its pages, its sequences, and what is selected and pointed at in them. The clock is not its own.

import { NONE, holesOf } from "./page_map_replay.js";
import { PageLayer, clear, drawOver, layout, layoutOfMany, pageAt, place } from "./page_map_draw.js";
import { HostStrip, SequenceList, Tooltip, describePage, describeSequence, h, plural, resize, withCommas, write } from "./page_map_parts.js";

const MAX_HEIGHT = 420, HEIGHT_OF_MANY = 200; // of the pages, in pixels: at most; about
const KEPT = 280; // of the list beside them, at least

export class MapPanel {
  /** invalidate: paint again; say: to who listens to the screen; many: it stands beside others. */
  constructor(film, { invalidate, say, many }) {
    Object.assign(this, { film, invalidate, say, many });
    this.selected = this.marked = NONE;
    this.build();
    this.layer = new PageLayer(this.canvas);
  }

  build() {
    this.title = h("b", { class: "plm-title" });
    this.size = h("span", { class: "plm-size", title: "pages × slots" });
    this.badge = h("span", { class: "plm-step" });
    this.news = h("div", { class: "plm-news" });
    this.facts = ["used", "of them shared", "cached", "free", "slots wasted", "tokens hit"].map((name) => [h("b"), name]);
    this.canvas = h("canvas", { class: "plm-pages", tabindex: "0", role: "application", "aria-roledescription": "page map",
      "aria-label": "Pages: arrow keys move, Enter selects the owner, Escape lets go", "data-lm-suppress-shortcuts": "true" });
    this.over = h("canvas", { class: "plm-over", "aria-hidden": "true" });
    this.list = new SequenceList(this.film, (id) => this.select(id === this.selected ? NONE : id));
    this.host = new HostStrip();
    this.tooltip = new Tooltip();
    this.mapBox = h("div", { class: "plm-map" }, this.canvas, this.over, this.host.element);
    this.root = h("div", { class: "plm-panel" }, h("header", {}, this.title, this.size, this.badge, this.news),
      h("div", { class: "plm-stats" }, ...this.facts.map(([number, name]) => h("span", {}, number, name))),
      h("div", { class: "plm-body" }, this.mapBox, this.list.element));
    if (this.many) for (const [name, value] of [["role", "group"], ["aria-label", this.film.title]]) this.root.setAttribute(name, value);
    this.canvas.addEventListener("keydown", (event) => this.key(event));
    this.canvas.addEventListener("pointermove", (event) => this.point(event));
    this.canvas.addEventListener("pointerleave", () => this.mark(NONE));
    this.canvas.addEventListener("blur", () => this.mark(NONE));
    this.canvas.addEventListener("click", (event) => {
      const page = this.pageUnder(event);
      this.select(page < 0 ? NONE : this.ownerAfter(page));
    });
  }

  // What is selected and pointed at

  get map() {
    return this.film.at(this.frame);
  }

  select(sequence) {
    this.selected = sequence;
    this.invalidate();
  }

  /** Clicking a shared page again goes through its owners, and then lets go. */
  ownerAfter(page) {
    const owners = this.map.owners(page);
    return owners[owners.indexOf(this.selected) + 1] ?? NONE;
  }

  mark(page, x, y) {
    this.marked = page;
    this.markedAt = [x, y];
    this.invalidate();
  }

  key(event) {
    const move = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: this.layout.columns, ArrowUp: -this.layout.columns }[event.key];
    if (move) {
      event.preventDefault();
      const next = this.marked < 0 ? 0 : this.marked + move;
      if (next < 0 || next >= this.film.numPages) return;
      const [x, y] = place(this.layout, next);
      this.mark(next, x + this.layout.cell / 2, y + this.layout.cell / 2);
      this.say(describePage(this.film, this.map, next));
    } else if (event.key === "Enter" && this.marked >= 0) {
      this.select(this.ownerAfter(this.marked));
    }
  }

  pageUnder(event) {
    const box = this.canvas.getBoundingClientRect();
    const row = this.map.sequences.get(this.selected)?.pages;
    return pageAt(this.layout, row, event.clientX - box.left, event.clientY - box.top, this.film.numPages);
  }

  point(event) {
    const box = this.canvas.getBoundingClientRect();
    const page = this.pageUnder(event);
    this.canvas.style.cursor = page < 0 ? "default" : "pointer";
    this.mark(page, event.clientX - box.left, event.clientY - box.top);
  }

  // Paint

  /** All reading of the document, before anything of a frame is written to it. */
  measure() {
    this.width = this.mapBox.clientWidth;
    this.list.measure();
  }

  scene(look) {
    const { film, frame, map, selected, marked } = this;
    const { colours, text_colours: textColours } = film.header;
    return { ...look, colours, textColours, map, selected, marked, caption: this.caption(map), changes: film.changes(frame),
      layout: this.many ? layoutOfMany(film.numPages, this.width, HEIGHT_OF_MANY) : layout(film.numPages, this.width, MAX_HEIGHT) };
  }

  /** frame: which of the film's. Returns whether anything had to be painted. */
  paint(look, frame) {
    const { film, marked, selected, width } = this;
    const painted = [frame, film.end, selected, marked, this.markedAt, width, this.list.height, look.ratio,
      ...Object.values(look.theme)].join();
    if (painted === this.painted) return;
    this.painted = painted;
    this.frame = frame;
    const scene = this.scene(look), { map } = scene, counts = map.counts();
    this.layout = scene.layout;
    for (const canvas of [this.canvas, this.over]) resize(canvas, this.layout.width, this.layout.height, look.ratio);
    if (!this.many) this.list.element.style.maxHeight = `${Math.max(KEPT, this.layout.height)}px`;
    this.layer.draw(scene);
    const over = this.over.getContext("2d");
    clear(over, scene);
    drawOver(over, scene);
    this.list.update(map, counts, selected);
    this.host.update(film, map, counts);
    this.write(map, counts, describeChanges(scene.changes));
    this.told = `${plural(counts.used, "page")} used, ${counts.cached} cached, ${counts.free} free`;
    if (marked < 0) this.tooltip.hide();
    else this.explain(map);
  }

  explain(map) {
    const [box, root] = [this.canvas.getBoundingClientRect(), this.tooltip.element.parentElement.getBoundingClientRect()];
    const [x, y] = this.markedAt;
    this.tooltip.show(this.film, map, this.marked, x + box.left - root.left, y + box.top - root.top, root);
  }

  write(map, counts, news) {
    const { film } = this;
    this.step = !film.starts.length ? `event ${this.frame} of ${film.numFrames - 1}`
      : map.step < 0 ? "before the first step" : `step ${map.step} of ${film.lastStep}`;
    write(this.title, film.title || `${plural(film.numPages, "page")} × ${plural(film.pageSize, "slot")}`);
    write(this.size, film.title ? `${withCommas(film.numPages)} × ${film.pageSize}` : "");
    write(this.badge, this.step);
    write(this.news, news);
    this.news.title = news;
    const share = counts.slots ? ` (${((100 * counts.waste) / counts.slots).toFixed(1)} %)` : "";
    const numbers = [counts.used, counts.shared, counts.cached, counts.free, `${counts.waste}${share}`, counts.hitTokens];
    numbers.forEach((number, index) => write(this.facts[index][0], withCommas(number)));
    Object.assign(this.root.dataset, { frame: this.frame, step: map.step, used: counts.used, selected: this.selected });
  }

  caption(map) {
    const view = map.sequences.get(this.selected);
    if (this.selected === NONE) return `Select a page or a sequence${this.many ? "" : ": its page table appears here"}`;
    const name = this.film.name(this.selected);
    if (!view) return `${name} has not arrived yet`;
    const { pages } = view, holes = holesOf(pages);
    const behind = holes ? ` · the first ${holes > 1 ? `${holes} were` : "was"} given back` : "";
    return `${name}: ${describeSequence(view, this.selected)}${behind}${pages.length && !this.many ? " · its logical pages, and where they are" : ""}`;
  }
}

function describeChanges(changes) {
  const { allocated, shared, hitInPart, returned, copies, evicted, offloaded } = changes;
  const parts = [];
  if (allocated) parts.push(`${plural(allocated, "page")} allocated`);
  if (shared) parts.push(`${shared} shared`);
  if (hitInPart) parts.push(`${hitInPart} copied for a hit in part`);
  if (returned) parts.push(`${returned} back from host memory`);
  if (copies.length) parts.push(`${copies.length} copied on write`);
  if (offloaded) parts.push(`${offloaded} evicted to host memory`);
  if (evicted > offloaded) parts.push(`${evicted - offloaded} evicted`);
  for (const [name, what] of [["preempted", "preempted"], ["swapped", "swapped out"], ["resumed", "resumed"],
    ["finished", "finished"], ["pruned", "pruned"]])
    if (changes[name].length) parts.push(`${what} ${changes[name].map((id) => `#${id}`).join(" ")}`);
  return parts.join(" · ");
}
