// The clock's controls: buttons, speed, a slider, and above it what each film's pool held over all moments.

import { describeMoves, drawTimeline, timelineX } from "./page_map_timeline.js";
import { h, icon, resize, write } from "./page_map_parts.js";

const ICONS = {
  first: "M2 3h2v10H2zM14 3v10L5 8z",
  back: "M12 3v10L4 8z",
  play: "M4 2v12l10-6z",
  pause: "M3 2h4v12H3zM9 2h4v12H9z",
  forward: "M4 3v10l8-5z",
  last: "M12 3h2v10h-2zM2 3v10l9-5z",
  save: "M7 2h2v6h3l-4 4.5L4 8h3zM2 12h1.5v1.5h9V12H14v3H2z",
};
const SPEEDS = { 0.25: "¼×", 1: "1×", 4: "4×" };
const TALL = 40, LOW = 28; // timelines, in pixels: alone, among others

export class Controls {
  /** act: {show(moment), go(1 or -1), toggle(), save()} */
  constructor(clock, act) {
    this.clock = clock;
    this.many = clock.films.length > 1;
    this.play = button("Play", "play", () => act.toggle());
    this.play.classList.add("plm-play");
    this.speed = h("select", { "aria-label": "Speed", title: "Speed: at 1× a long film takes 20 seconds", "data-lm-suppress-shortcuts": "true" },
      ...Object.entries(SPEEDS).map(([value, text]) => h("option", { value }, text)));
    this.speed.value = "1";
    this.now = h("span", { class: "plm-step", hidden: "" });
    this.timelines = clock.films.map((film) => {
      const canvas = h("canvas", { class: "plm-timeline", role: "img", title: "Pages over time: used (solid), cached (dotted). "
        + "Marks above: a sequence was preempted (filled), swapped out (hollow), is back (upwards)" });
      return { film, canvas, lane: h("div", { class: "plm-lane" }, canvas, h("span", { class: "plm-name", "aria-hidden": "true" }, film.title)) };
    });
    this.cursor = h("div", { class: "plm-cursor" });
    this.slider = h("input", { type: "range", min: "0", step: clock.inSeconds ? "any" : "1",
      "aria-label": clock.inSeconds ? "Second" : "Step", "data-lm-suppress-shortcuts": "true" });
    this.slider.addEventListener("input", () => act.show(Number(this.slider.value)));
    this.slider.addEventListener("keydown", (event) => {
      const move = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key];
      if (!move) return;
      event.preventDefault();
      act.go(move);
    });
    this.scrub = h("div", { class: "plm-scrub" },
      h("div", { class: "plm-timelines" }, ...this.timelines.map(({ lane }) => lane), this.cursor), this.slider);
    this.element = h("div", { class: "plm-controls" },
      h("div", { class: "plm-buttons" }, button("First step", "first", () => act.show(0)),
        button("Step back", "back", () => act.go(-1)), this.play, button("Step forward", "forward", () => act.go(1)),
        button("Last step", "last", () => act.show(Infinity)), this.speed, button("Save as SVG", "save", () => act.save()), this.now),
      this.scrub);
  }

  measure() {
    this.width = this.scrub.clientWidth;
  }

  paint(look, moment, playing, words) {
    const { clock, width } = this;
    for (const timeline of this.timelines) {
      const { film, canvas } = timeline;
      const drawn = [film.end, clock.end, width, look.ratio, ...Object.values(look.theme)].join();
      if (drawn === timeline.drawn) continue;
      timeline.drawn = drawn;
      const height = this.many ? LOW : TALL;
      resize(canvas, width, height, look.ratio);
      drawTimeline(canvas.getContext("2d"), { ...look, clock, film, width, height });
      canvas.setAttribute("aria-label", ["Used and cached pages over all steps", describeMoves(film)].filter(Boolean).join(": "));
    }
    this.cursor.style.transform = `translateX(${timelineX(clock, moment, width)}px)`;
    this.now.hidden = !this.many;
    write(this.now, clock.say(moment));
    this.slider.max = clock.end;
    this.slider.value = moment;
    this.slider.setAttribute("aria-valuetext", words);
    this.play.firstChild.firstChild.setAttribute("d", playing ? ICONS.pause : ICONS.play);
    for (const name of ["aria-label", "title"]) this.play.setAttribute(name, playing ? "Pause" : "Play");
  }
}

function button(label, sign, action) {
  const element = h("button", { type: "button", "aria-label": label, title: label, "data-lm-suppress-shortcuts": "true" }, icon(ICONS[sign]));
  element.addEventListener("click", action);
  return element;
}
