// The page map: one component for the notebook widget and for the HTML export. Everything that moves, moves here:
// once the trace has arrived, nobody is asked for anything.

import { NONE } from "./page_map_replay.js";
import { Film, packetsIn } from "./page_map_film.js";
import { Clock } from "./page_map_clock.js";
import { drawSwatch } from "./page_map_cells.js";
import { h, resize } from "./page_map_parts.js";
import { MapPanel } from "./page_map_panel.js";
import { Controls } from "./page_map_controls.js";
import { LEGEND, isThere, pictureOf } from "./page_map_svg.js";

const REST = 300; // milliseconds: who drags the slider does not want to hear of every step

class PageMapView {
  /** films: side by side on one clock; moment: where it opens, the end if null. */
  constructor(films, moment) {
    this.clock = new Clock(films);
    this.moment = moment ?? this.clock.end;
    this.playing = false;
    this.build(films);
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
    clearTimeout(this.resting);
    this.observer.disconnect();
    this.themes.disconnect();
    this.dark.removeEventListener("change", this.onTheme);
    this.root.remove();
  }

  build(films) {
    const many = films.length > 1;
    const heard = { invalidate: () => this.invalidate(), say: (text) => this.say(text, 0), many };
    this.panels = films.map((film) => new MapPanel(film, heard));
    this.controls = new Controls(this.clock, { show: (moment) => this.show(moment), go: (way) => this.go(way),
      toggle: () => this.toggle(), save: () => this.save() });
    this.legend = h("div", { class: "plm-legend" });
    this.swatches = Object.entries(LEGEND).map(([kind, text]) => {
      const swatch = h("canvas", { "aria-hidden": "true" });
      this.legend.append(h("span", { "data-kind": kind }, swatch, text));
      return [kind, swatch];
    });
    this.live = h("div", { class: "plm-live", role: "status", "aria-live": "polite" });
    this.maps = h("div", { class: "plm-maps" }, ...this.panels.map((panel) => panel.root));
    this.root = h("section", { class: many ? "plm plm-many" : "plm", "aria-label": many ? "Page maps" : "Page map" }, this.maps,
      this.controls.element, this.legend, ...this.panels.map((panel) => panel.tooltip.element), this.live);
    this.root.addEventListener("keydown", (event) => this.key(event));
  }

  // Moments

  show(moment) {
    this.moment = this.position = Math.max(0, Math.min(this.clock.end, moment));
    this.invalidate();
  }

  /** To the next moment at which anything happens, or to the one before. */
  go(way) {
    this.show(way > 0 ? this.clock.after(this.moment) : this.clock.before(this.moment));
  }

  get atEnd() {
    return this.moment >= this.clock.end;
  }

  /** A film grew: whoever stood at the end goes with it. */
  grew(wasAtEnd) {
    this.show(wasAtEnd ? Infinity : this.moment);
  }

  toggle() {
    this.playing = !this.playing;
    if (this.playing) {
      this.show(this.atEnd ? 0 : this.moment);
      this.ticked = performance.now();
      requestAnimationFrame((now) => this.tick(now));
    }
    this.invalidate();
  }

  /** Play: a film of any length takes some 20 seconds, or five steps a second if it is short. */
  tick(now) {
    if (!this.playing) return;
    const { end, inSeconds } = this.clock;
    const perSecond = Math.max(inSeconds ? 0 : 5, end / 20) * Number(this.controls.speed.value);
    const position = this.position + (Math.max(0, now - this.ticked) * perSecond) / 1000;
    const moment = inSeconds ? position : Math.floor(position);
    if (moment > this.moment) this.show(moment);
    [this.position, this.ticked] = [position, now];
    if (this.atEnd) this.playing = false;
    else requestAnimationFrame((later) => this.tick(later));
  }

  key(event) {
    event.stopPropagation(); // JupyterLab would take it for one of its own
    if (event.key === " " && event.target.tagName !== "BUTTON" && event.target.tagName !== "SELECT") {
      event.preventDefault();
      this.toggle();
    } else if (event.key === "Escape") {
      const here = this.panels.filter((panel) => panel.root.contains(event.target));
      for (const panel of here.length ? here : this.panels) panel.select(NONE);
    }
  }

  // Paint

  invalidate() {
    if (!this.pending) this.pending = requestAnimationFrame(() => this.paint());
  }

  get look() {
    const { color: fg, backgroundColor: bg, outlineColor: accent, fontFamily: font } = getComputedStyle(this.root);
    return { theme: { fg, bg, accent, font }, ratio: window.devicePixelRatio || 1 };
  }

  paint() {
    cancelAnimationFrame(this.pending);
    this.pending = 0;
    if (!this.root.isConnected || !this.maps.clientWidth) return;
    const { clock, controls, look, moment, panels } = this;
    for (const part of [...panels, controls]) part.measure();
    for (const panel of panels) panel.paint(look, clock.frameAt(panel.film, moment));
    const [{ step, root }] = panels, many = panels.length > 1;
    controls.paint(look, moment, this.playing, many ? clock.say(moment) : step);
    this.paintLegend(look);
    Object.assign(this.root.dataset, { moment }, many ? {} : root.dataset);
    if (!this.playing && panels.every((panel) => panel.marked < 0)) this.say(this.words, REST);
  }

  /** What is seen, in words. */
  get words() {
    if (this.panels.length > 1)
      return `${this.clock.say(this.moment)}. ${this.panels.map(({ film, told }) => `${film.title}: ${told}`).join("; ")}.`;
    const [{ step, told, news }] = this.panels;
    return `${step}: ${told}. ${news.textContent}`;
  }

  say(text, wait) {
    clearTimeout(this.resting);
    this.resting = setTimeout(() => (this.live.textContent = text), wait);
  }

  paintLegend(look) {
    const { films } = this.clock, told = [...films.map((film) => film.end), look.ratio, ...Object.values(look.theme)].join();
    if (told === this.toldLegend) return;
    this.toldLegend = told;
    for (const [kind, swatch] of [...this.swatches, ...this.panels.map((panel) => ["cached", panel.host.swatch])]) {
      resize(swatch, 18, 18, look.ratio);
      drawSwatch(swatch.getContext("2d"), kind, { ...look, colours: films[0].header.colours, textColours: films[0].header.text_colours });
      if (swatch.parentElement.dataset.kind) swatch.parentElement.hidden = !isThere(kind, films);
    }
  }

  /** What is seen, as a file. */
  save() {
    const text = pictureOf(this.panels, this.look, this.clock, this.moment, this.words);
    const link = h("a", { href: URL.createObjectURL(new Blob([text], { type: "image/svg+xml" })),
      download: `page map, ${this.clock.say(this.moment)}.svg` });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  }
}

/** Show films in an element. */
export function mount(element, films, moment = null) {
  const view = new PageMapView(films, moment);
  element.append(view.root);
  view.paint();
  return view;
}

/** The widget: its model holds the films, which every view of it shows. */
export default () => {
  let films;
  const views = new Set();
  return {
    async initialize({ model }) {
      const have = () => model.send({ have: films.map((film) => film.end) });
      const take = (packets) => {
        const ends = new Map([...views].map((view) => [view, view.atEnd]));
        const took = packets.map((packet, index) => !packet.byteLength || films[index].append(packet));
        if (!took.every(Boolean)) have();
        for (const [view, wasAtEnd] of ends) view.grew(wasAtEnd);
      };
      const begun = packetsIn(model.get("_packet")).then((packets) => {
        films = packets.map((packet) => new Film(packet));
        have(); // this page may be younger than the trace
      });
      let line = begun; // what is inflated meanwhile waits for its turn
      model.on("msg:custom", (message, [bytes]) => {
        line = Promise.all([packetsIn(bytes), line]).then(([packets]) => take(packets));
      });
      await begun;
    },
    render({ model, el }) {
      const view = mount(el, films, model.get("_moment"));
      views.add(view);
      return () => {
        views.delete(view);
        view.destroy();
      };
    },
  };
};
