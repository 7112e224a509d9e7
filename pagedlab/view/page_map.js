// The page map: one component for the notebook widget and for the HTML export. Everything that moves, moves here:
// once the trace has arrived, nobody is asked for anything.

import { NONE, holesOf } from "./page_map_replay.js";
import { Film } from "./page_map_film.js";
import { drawMap, drawSwatch, drawTimeline, layout, pageAt, place, timelineX } from "./page_map_draw.js";
import { HostStrip, SequenceList, Tooltip, describePage, describeSequence, h, icon, plural } from "./page_map_parts.js";

const MAX_HEIGHT = 420; // of the pages, in pixels
const LEGEND = { used: "used", partial: "partly filled", shared: "shared ×n", copied: "copied in part", cached: "cached", free: "free", changed: "new in this step" };
const ICONS = {
  first: "M2 3h2v10H2zM14 3v10L5 8z",
  back: "M12 3v10L4 8z",
  play: "M4 2v12l10-6z",
  pause: "M3 2h4v12H3zM9 2h4v12H9z",
  forward: "M4 3v10l8-5z",
  last: "M12 3h2v10h-2zM2 3v10l9-5z",
};

class PageMapView {
  constructor(film) {
    this.film = film;
    this.frame = this.position = film.numFrames - 1;
    this.selected = this.marked = NONE;
    this.playing = false;
    this.build();
    this.observer = new ResizeObserver(() => this.invalidate());
    this.observer.observe(this.root);
    this.themes = new MutationObserver(() => this.invalidate());
    this.themes.observe(document.body, { attributes: true });
    this.dark = matchMedia("(prefers-color-scheme: dark)");
    this.onTheme = () => this.invalidate();
    this.dark.addEventListener("change", this.onTheme);
  }

  destroy() {
    this.playing = false;
    cancelAnimationFrame(this.pending);
    this.observer.disconnect();
    this.themes.disconnect();
    this.dark.removeEventListener("change", this.onTheme);
    this.root.remove();
  }

  build() {
    const button = (label, sign, action) => {
      const element = h("button", { type: "button", "aria-label": label, title: label, "data-lm-suppress-shortcuts": "true" }, icon(ICONS[sign]));
      element.addEventListener("click", action);
      return element;
    };
    this.title = h("b", { class: "plm-title" });
    this.badge = h("span", { class: "plm-step" });
    this.stats = h("div", { class: "plm-stats" });
    this.canvas = h("canvas", { class: "plm-pages", tabindex: "0", role: "application", "aria-roledescription": "page map",
      "aria-label": "Pages: arrow keys move, Enter selects the owner, Escape lets go", "data-lm-suppress-shortcuts": "true" });
    this.list = new SequenceList(this.film, (id) => this.select(id === this.selected ? NONE : id));
    this.timeline = h("canvas", { class: "plm-timeline", role: "img", "aria-label": "Used and cached pages over all steps",
      title: "Pages over time: used (solid), cached (dotted). A mark above: a sequence was preempted" });
    this.cursor = h("div", { class: "plm-cursor" });
    this.slider = h("input", { type: "range", min: "0", step: "1", "aria-label": "Step", "data-lm-suppress-shortcuts": "true" });
    this.play = button("Play", "play", () => this.toggle());
    this.play.classList.add("plm-play");
    this.speed = h("select", { "aria-label": "Speed", title: "Speed", "data-lm-suppress-shortcuts": "true" },
      ...["¼", "1", "4"].map((text, index) => h("option", { value: [0.25, 1, 4][index] }, `${text}×`)));
    this.speed.value = "1";
    this.legend = h("div", { class: "plm-legend" });
    this.swatches = Object.entries(LEGEND).map(([kind, text]) => {
      const swatch = h("canvas", { "aria-hidden": "true" });
      this.legend.append(h("span", { "data-kind": kind }, swatch, text));
      return [kind, swatch];
    });
    this.live = h("div", { class: "plm-live", role: "status", "aria-live": "polite" });
    this.news = h("div", { class: "plm-news" });
    this.tooltip = new Tooltip();
    this.host = new HostStrip();
    this.mapBox = h("div", { class: "plm-map" }, this.canvas, this.host.element);
    this.root = h("section", { class: "plm", "aria-label": "Page map" },
      h("header", {}, this.title, this.badge, this.news), this.stats,
      h("div", { class: "plm-body" }, this.mapBox, this.list.element),
      h("div", { class: "plm-controls" },
        h("div", { class: "plm-buttons" }, button("First step", "first", () => this.show(0)),
          button("Step back", "back", () => this.show(this.frame - 1)), this.play,
          button("Step forward", "forward", () => this.show(this.frame + 1)),
          button("Last step", "last", () => this.show(Infinity)), this.speed),
        h("div", { class: "plm-scrub" }, this.timeline, this.cursor, this.slider)),
      this.legend, this.tooltip.element, this.live);
    this.slider.addEventListener("input", () => this.show(Number(this.slider.value)));
    this.root.addEventListener("keydown", (event) => this.key(event));
    this.canvas.addEventListener("pointermove", (event) => this.point(event));
    this.canvas.addEventListener("pointerleave", () => this.mark(-1));
    this.canvas.addEventListener("blur", () => this.mark(-1));
    this.canvas.addEventListener("click", (event) => {
      const page = this.pageUnder(event);
      this.select(page < 0 ? NONE : this.ownerAfter(page));
    });
  }

  // What is shown

  show(frame) {
    this.frame = this.position = Math.max(0, Math.min(this.film.numFrames - 1, frame));
    this.invalidate();
  }

  select(sequence) {
    this.selected = sequence;
    this.invalidate();
  }

  /** Clicking a shared page again goes through its owners, and then lets go. */
  ownerAfter(page) {
    const owners = this.film.at(this.frame).owners(page);
    return owners[owners.indexOf(this.selected) + 1] ?? NONE;
  }

  mark(page, x, y) {
    this.marked = page;
    this.markedAt = [x, y];
    this.invalidate();
  }

  /** The film grew: whoever stood at its end goes with it. */
  grew(wasAtEnd) {
    if (wasAtEnd) this.frame = this.film.numFrames - 1;
    this.show(this.frame);
  }

  get atEnd() {
    return this.frame >= this.film.numFrames - 1;
  }

  toggle() {
    this.playing = !this.playing;
    if (this.playing) {
      if (this.atEnd) this.show(0);
      this.ticked = performance.now();
      requestAnimationFrame((now) => this.tick(now));
    }
    this.invalidate();
  }

  /** Play: a film of any length takes some 20 seconds, or five frames a second if it is short. */
  tick(now) {
    if (!this.playing) return;
    const perSecond = Math.max(5, this.film.numFrames / 20) * Number(this.speed.value);
    const position = this.position + (Math.max(0, now - this.ticked) * perSecond) / 1000;
    if (Math.floor(position) > this.frame) this.show(Math.floor(position));
    [this.position, this.ticked] = [position, now];
    if (this.atEnd) this.playing = false;
    else requestAnimationFrame((later) => this.tick(later));
  }

  // Keys and pointer

  key(event) {
    event.stopPropagation(); // JupyterLab would take it for one of its own
    if (event.key === " " && event.target.tagName !== "BUTTON" && event.target.tagName !== "SELECT") {
      event.preventDefault();
      this.toggle();
    } else if (event.key === "Escape") {
      this.select(NONE);
    } else if (event.target === this.canvas) {
      this.canvasKey(event);
    }
  }

  canvasKey(event) {
    const move = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: this.layout.columns, ArrowUp: -this.layout.columns }[event.key];
    if (move) {
      event.preventDefault();
      const next = this.marked < 0 ? 0 : this.marked + move;
      if (next < 0 || next >= this.film.numPages) return;
      const [x, y] = place(this.layout, next);
      this.mark(next, x + this.layout.cell / 2, y + this.layout.cell / 2);
      this.live.textContent = describePage(this.film, this.film.at(this.frame), next);
    } else if (event.key === "Enter" && this.marked >= 0) {
      this.select(this.ownerAfter(this.marked));
    }
  }

  pageUnder(event) {
    const box = this.canvas.getBoundingClientRect();
    const row = this.film.at(this.frame).sequences.get(this.selected)?.pages;
    return pageAt(this.layout, row, event.clientX - box.left, event.clientY - box.top, this.film.numPages);
  }

  point(event) {
    const box = this.canvas.getBoundingClientRect();
    const page = this.pageUnder(event);
    this.canvas.style.cursor = page < 0 ? "default" : "pointer";
    this.mark(page, event.clientX - box.left, event.clientY - box.top);
  }

  // Paint

  invalidate() {
    if (!this.pending) this.pending = requestAnimationFrame(() => this.paint());
  }

  paint() {
    cancelAnimationFrame(this.pending);
    this.pending = 0;
    if (!this.root.isConnected || !this.mapBox.clientWidth) return;
    const { film } = this;
    const ratio = window.devicePixelRatio || 1;
    const style = getComputedStyle(this.root);
    const theme = { fg: style.color, bg: style.backgroundColor, accent: style.outlineColor, font: style.fontFamily };
    const map = film.at(this.frame), counts = map.counts(), changes = film.changes(this.frame);
    this.layout = layout(film.numPages, this.mapBox.clientWidth, MAX_HEIGHT);
    resize(this.canvas, this.layout.width, this.layout.height, ratio);
    const { colours, text_colours: textColours } = film.header;
    const look = { theme, colours, textColours, ratio };
    this.list.element.style.maxHeight = `${Math.max(280, this.layout.height)}px`;
    drawMap(this.canvas.getContext("2d"), { ...look, map, layout: this.layout, selected: this.selected,
      caption: this.caption(map), marked: this.marked, touched: changes.pages });
    this.paintStill(look);
    this.list.update(map, counts, this.selected);
    this.host.update(film, map, counts);
    this.write(map, counts, changes);
    if (this.marked < 0) this.tooltip.hide();
    else {
      const [box, root] = [this.canvas.getBoundingClientRect(), this.root.getBoundingClientRect()];
      this.tooltip.show(film, map, this.marked, this.markedAt[0] + box.left - root.left, this.markedAt[1] + box.top - root.top, root);
    }
  }

  /** What changes only with the film, the size or the theme; and the timeline's cursor. */
  paintStill(look) {
    const { film } = this;
    const width = this.timeline.parentElement.clientWidth, height = 40;
    const drawn = [film.end, width, look.ratio, ...Object.values(look.theme)].join();
    if (drawn !== this.drawn) {
      this.drawn = drawn;
      resize(this.timeline, width, height, look.ratio);
      drawTimeline(this.timeline.getContext("2d"), { ...look, film, width, height });
      this.legend.querySelector("[data-kind=copied]").hidden = !film.hasCopies;
      for (const [kind, swatch] of [...this.swatches, ["cached", this.host.swatch]]) {
        resize(swatch, 18, 18, look.ratio);
        drawSwatch(swatch.getContext("2d"), kind, look);
      }
    }
    this.cursor.style.transform = `translateX(${timelineX(film, this.frame, width)}px)`;
  }

  write(map, counts, changes) {
    const { film } = this;
    const last = film.numFrames - 1;
    const step = !film.starts.length ? `event ${this.frame} of ${last}`
      : map.step < 0 ? "before the first step" : `step ${map.step} of ${film.events[film.starts.at(-1) * 4 + 3]}`;
    this.title.textContent = `${plural(film.numPages, "page")} × ${plural(film.pageSize, "slot")}`;
    this.badge.textContent = step;
    const news = describeChanges(changes);
    this.news.textContent = news;
    const share = counts.slots ? ` (${((100 * counts.waste) / counts.slots).toFixed(1)} %)` : "";
    const stats = { used: counts.used, "of them shared": counts.shared, cached: counts.cached, free: counts.free,
      "slots wasted": `${counts.waste}${share}`, "tokens hit": counts.hitTokens };
    this.stats.replaceChildren(...Object.entries(stats).map(([name, value]) =>
      h("span", {}, h("b", {}, value.toLocaleString("en")), name)));
    this.slider.max = last;
    this.slider.value = this.frame;
    this.slider.setAttribute("aria-valuetext", step);
    this.play.firstChild.firstChild.setAttribute("d", this.playing ? ICONS.pause : ICONS.play);
    for (const name of ["aria-label", "title"]) this.play.setAttribute(name, this.playing ? "Pause" : "Play");
    Object.assign(this.root.dataset, { frame: this.frame, step: map.step, used: counts.used, selected: this.selected });
    if (!this.playing && this.marked < 0)
      this.live.textContent = `${step}: ${plural(counts.used, "page")} used, ${counts.cached} cached, ${counts.free} free. ${news}`;
  }

  caption(map) {
    const view = map.sequences.get(this.selected);
    if (this.selected === NONE) return "Select a page or a sequence: its page table appears here";
    const name = this.film.name(this.selected);
    if (!view) return `${name} has not arrived yet`;
    const { pages } = view, holes = holesOf(pages);
    const behind = holes ? ` · the first ${holes > 1 ? `${holes} were` : "was"} given back` : "";
    return `${name}: ${describeSequence(view, this.selected)}${behind}${pages.length ? " · its logical pages, and where they are" : ""}`;
  }
}

function describeChanges(changes) {
  const { allocated, shared, hitInPart, returned, copied, evicted, offloaded } = changes;
  const parts = [];
  if (allocated) parts.push(`${plural(allocated, "page")} allocated`);
  if (shared) parts.push(`${shared} shared`);
  if (hitInPart) parts.push(`${hitInPart} copied for a hit in part`);
  if (returned) parts.push(`${returned} back from host memory`);
  if (copied) parts.push(`${copied} copied on write`);
  if (offloaded) parts.push(`${offloaded} evicted to host memory`);
  if (evicted > offloaded) parts.push(`${evicted - offloaded} evicted`);
  for (const [name, what] of [["preempted", "preempted"], ["swapped", "swapped out"], ["resumed", "resumed"],
    ["finished", "finished"], ["pruned", "pruned"]])
    if (changes[name].length) parts.push(`${what} ${changes[name].map((id) => `#${id}`).join(" ")}`);
  return parts.join(" · ");
}

function resize(canvas, width, height, ratio) {
  const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== w || canvas.height !== h) Object.assign(canvas, { width: w, height: h });
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
}

/** Show a film in an element. */
export function mount(element, film) {
  const view = new PageMapView(film);
  element.append(view.root);
  view.paint();
  return view;
}

/** The widget: its model holds one film, which every view of it shows. */
export default () => {
  let film;
  const views = new Set();
  return {
    initialize({ model }) {
      film = new Film(model.get("_packet"));
      model.on("msg:custom", (message, [packet]) => {
        const ends = new Map([...views].map((view) => [view, view.atEnd]));
        if (!film.append(packet)) model.send({ have: film.end });
        for (const [view, wasAtEnd] of ends) view.grew(wasAtEnd);
      });
      model.send({ have: film.end }); // this page may be younger than the trace
    },
    render({ el }) {
      const view = mount(el, film);
      views.add(view);
      return () => {
        views.delete(view);
        view.destroy();
      };
    },
  };
};
