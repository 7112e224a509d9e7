// One clock for several films: view/side_by_side.py says what that means, and does the same.

export class Clock {
  constructor(films) {
    this.films = films;
    this.inSeconds = films.every((film) => film.seconds);
  }

  /** Number of the first step (or event) of all: late where the oldest are folded away. */
  get first() {
    return Math.min(...this.films.map((film) => film.first));
  }

  get end() {
    return Math.max(0, ...this.films.map((film) => this.momentOf(film, film.numFrames - 1)));
  }

  /** When a frame begins to be seen. */
  momentOf(film, frame) {
    if (!frame) return 0;
    return this.inSeconds ? film.seconds[Math.min(frame, film.seconds.length) - 1] ?? 0 : frame + film.first - this.first;
  }

  /** The last frame that a film has reached at a moment. */
  frameAt(film, moment) {
    const last = film.numFrames - 1;
    if (!this.inSeconds) return Math.max(0, Math.min(last, Math.floor(moment) - film.first + this.first));
    let low = 0, high = Math.min(last, film.seconds.length);
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (film.seconds[middle - 1] <= moment) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  /** The nearest moment later at which any film goes on. */
  after(moment) {
    const next = this.films.map((film) => this.momentOf(film, Math.min(this.frameAt(film, moment) + 1, film.numFrames - 1)));
    return Math.min(this.end, ...next.filter((it) => it > moment));
  }

  /** The moment before the one at which any film last went on. */
  before(moment) {
    const reached = Math.max(...this.films.map((film) => this.momentOf(film, this.frameAt(film, moment))));
    return Math.max(0, ...this.films.map((film) => this.lastBefore(film, reached)));
  }

  lastBefore(film, moment) {
    let frame = this.frameAt(film, moment);
    while (frame && this.momentOf(film, frame) >= moment) frame--;
    return this.momentOf(film, frame);
  }

  say(moment) {
    if (this.inSeconds) return `${moment.toFixed(2)} s`;
    if (!this.films.some((film) => film.starts.length)) return `event ${Math.floor(moment) + this.first - 1}`;
    return moment < 1 ? "before the first step" : `step ${Math.floor(moment) + this.first - 1}`;
  }
}
