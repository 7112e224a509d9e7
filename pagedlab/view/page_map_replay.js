// A trace as a film: the same replay as memory/replay.py, with checkpoints, so that any frame is near.
// Packets come from view/feed.py, which describes them.

const STEP = 0, ARRIVE = 1, ADMIT = 2, ALLOCATE = 3, SHARE = 4, COMPUTE = 5, COPY = 6, RELEASE = 7, PUBLISH = 8,
  EVICT = 9, FORK = 10, PREEMPT = 11, FINISH = 12;
const FIELDS = 4;
const NONE = -1;
export const FREE = 0, CACHED = 1, USED = 2;

/** bytes: a Uint8Array or DataView over one packet -> {header, events: Int32Array of rows kind, page, sequence, value} */
export function decode(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const length = view.getInt32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(bytes.buffer, bytes.byteOffset + 4, length)));
  const start = bytes.byteOffset + 4 + length;
  return { header, events: new Int32Array(bytes.buffer.slice(start, bytes.byteOffset + bytes.byteLength)) };
}

/** States, owners and content of all pages at one moment. */
export class PageMap {
  constructor(numPages, pageSize) {
    this.numPages = numPages;
    this.pageSize = pageSize;
    this.step = NONE;
    this.hitTokens = 0;
    this.refcount = new Int32Array(numPages);
    this.published = new Uint8Array(numPages);
    this.filled = new Int32Array(numPages);
    this.contentSequence = new Int32Array(numPages).fill(NONE);
    this.contentLogical = new Int32Array(numPages).fill(NONE);
    this.sequences = new Map();
    this.used = this.cached = 0;
  }

  /** `base`: a page map as view/feed.py writes it. */
  static from(numPages, pageSize, base) {
    const map = new PageMap(numPages, pageSize);
    if (!base) return map;
    map.step = base.step;
    map.hitTokens = base.hit_tokens;
    map.refcount.set(base.refcount);
    map.published.set(base.published);
    map.filled.set(base.filled);
    base.content.forEach(([sequence, logical], page) => {
      map.contentSequence[page] = sequence;
      map.contentLogical[page] = logical;
      const state = map.state(page);
      map.used += state === USED;
      map.cached += state === CACHED;
    });
    for (const [id, pages, computed, prompt, hit, preemptions, finish] of base.sequences)
      map.sequences.set(id, { pages, computed, prompt, hit, preemptions, finish });
    return map;
  }

  copy() {
    const twin = Object.assign(new PageMap(0, this.pageSize), this);
    for (const name of ["refcount", "published", "filled", "contentSequence", "contentLogical"])
      twin[name] = this[name].slice();
    twin.sequences = new Map();
    for (const [id, view] of this.sequences) {
      const over = view.finish !== NONE && view.pages.length === 0; // nothing happens to it any more
      twin.sequences.set(id, over ? view : { ...view, pages: view.pages.slice() });
    }
    return twin;
  }

  state(page) {
    return this.refcount[page] ? USED : this.published[page] ? CACHED : FREE;
  }

  /** The first sequence to arrive of those that name each page; -1 where none does. */
  firstOwners() {
    const owners = new Int32Array(this.numPages).fill(NONE);
    for (const [id, view] of this.sequences)
      for (const page of view.pages) if (owners[page] === NONE) owners[page] = id;
    return owners;
  }

  owners(page) {
    return [...this.sequences].filter(([, view]) => view.pages.includes(page)).map(([id]) => id);
  }

  counts() {
    const counts = { used: this.used, cached: this.cached, free: this.numPages - this.used - this.cached, shared: 0,
      slots: this.used * this.pageSize, waste: 0, hitTokens: this.hitTokens,
      running: 0, waiting: 0, preempted: 0, finished: 0 };
    for (let page = 0; page < this.numPages; page++) {
      if (this.refcount[page] > 1) counts.shared++;
      if (this.refcount[page]) counts.waste += this.pageSize - this.filled[page];
    }
    for (const view of this.sequences.values()) counts[statusOf(view)]++;
    return counts;
  }

  /** Move one event forward in time. */
  apply(kind, page, sequence, value) {
    if (kind === STEP) {
      this.step = value;
      return;
    }
    if (kind === EVICT) {
      this.published[page] = 0;
      if (!this.refcount[page]) {
        this.cached--;
        this.blank(page);
      }
      return;
    }
    let view = this.sequences.get(sequence);
    if (!view) {
      view = { pages: [], computed: 0, prompt: 0, hit: 0, preemptions: 0, finish: NONE };
      this.sequences.set(sequence, view);
    }
    switch (kind) {
      case ARRIVE:
        view.prompt = value;
        break;
      case ADMIT:
        view.hit = view.computed = value;
        this.hitTokens += value;
        break;
      case ALLOCATE:
        this.used++;
        this.refcount[page] = 1;
        this.blank(page);
        view.pages[value] = page;
        break;
      case SHARE:
        if (this.refcount[page]++ === 0) {
          this.used++;
          this.cached--;
        }
        view.pages[value] = page;
        break;
      case COMPUTE:
        this.compute(sequence, view, value);
        break;
      case COPY:
        this.filled[page] = this.filled[value];
        this.contentSequence[page] = this.contentSequence[value];
        this.contentLogical[page] = this.contentLogical[value];
        break;
      case RELEASE:
        if (view.pages.length === value + 1 && view.pages[value] === page) view.pages.pop();
        if (--this.refcount[page] === 0) {
          this.used--;
          if (this.published[page]) this.cached++;
          else this.blank(page);
        }
        break;
      case PUBLISH:
        this.published[page] = 1;
        break;
      case FORK: {
        const { computed, prompt, hit } = this.sequences.get(value);
        Object.assign(view, { computed, prompt, hit });
        break;
      }
      case PREEMPT:
        view.computed = 0;
        view.preemptions++;
        break;
      case FINISH:
        view.finish = value;
    }
  }

  compute(sequence, view, computed) {
    const size = this.pageSize;
    for (let logical = Math.floor(view.computed / size); logical * size < computed; logical++) {
      const page = view.pages[logical];
      this.contentSequence[page] = sequence;
      this.contentLogical[page] = logical;
      this.filled[page] = Math.min(size, computed - logical * size);
    }
    view.computed = computed;
  }

  blank(page) {
    this.filled[page] = 0;
    this.contentSequence[page] = this.contentLogical[page] = NONE;
  }
}

export function statusOf(view) {
  if (view.finish !== NONE) return "finished";
  if (view.pages.length) return "running";
  return view.preemptions ? "preempted" : "waiting";
}

/**
 * All frames of a trace. Frame 0 is what came before the first step, each further one the end of a step; a trace
 * without steps has a frame after every event.
 */
export class Film {
  /** packet: the first one of a feed, which carries the pool. */
  constructor(packet) {
    this.load(decode(packet));
  }

  load({ header, events }) {
    this.header = header;
    this.numPages = header.num_pages;
    this.pageSize = header.page_size;
    this.start = header.cursor; // events recorded before the first one here
    this.sequences = new Map(); // id -> {label, tokens}
    this.pieces = new Map(); // token id -> text
    this.events = new Int32Array(0);
    this.numEvents = 0;
    this.starts = []; // index of each STEP event
    this.history = []; // of each frame but the last: {used, cached}
    this.preempted = []; // frames in which a sequence was preempted
    this.spacing = Math.max(1024, this.numPages); // events between checkpoints
    this.head = PageMap.from(this.numPages, this.pageSize, header.base); // after the newest event
    this.checkpoints = [{ index: 0, map: this.head.copy() }];
    this.shown = { index: 0, map: this.head.copy() };
    this.extend(header, events);
  }

  /** Take a further packet. Returns false if something before it is missing: ask for a whole one. */
  append(packet) {
    const { header, events } = decode(packet);
    if (header.num_pages !== undefined) {
      this.load({ header, events });
      return true;
    }
    const known = this.start + this.numEvents - header.cursor;
    if (known < 0) return false;
    this.extend(header, events.subarray(known * FIELDS));
    return true;
  }

  get end() {
    return this.start + this.numEvents;
  }

  get numFrames() {
    return (this.starts.length || this.numEvents) + 1;
  }

  /** Events before the end of a frame. */
  frameEnd(frame) {
    if (!this.starts.length) return frame;
    return frame < this.starts.length ? this.starts[frame] : this.numEvents;
  }

  /** The page map of a frame. It belongs to the film and changes with the next call. */
  at(frame) {
    const end = this.frameEnd(frame);
    let low = 0, high = this.checkpoints.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.checkpoints[middle].index <= end) low = middle;
      else high = middle - 1;
    }
    const checkpoint = this.checkpoints[low];
    if (this.shown.index > end || this.shown.index < checkpoint.index)
      this.shown = { index: checkpoint.index, map: checkpoint.map.copy() };
    for (; this.shown.index < end; this.shown.index++) this.applyTo(this.shown.map, this.shown.index);
    return this.shown.map;
  }

  /** What a frame did: pages it gave out or took over, and how often each kind of thing happened. */
  changes(frame) {
    const pages = new Set();
    const changes = { pages, allocated: 0, shared: 0, copied: 0, evicted: 0, preempted: [], finished: [] };
    for (let index = frame ? this.frameEnd(frame - 1) : 0; index < this.frameEnd(frame); index++) {
      const [kind, page, sequence] = this.events.subarray(index * FIELDS, index * FIELDS + 3);
      if (kind === ALLOCATE || kind === SHARE || kind === EVICT) pages.add(page);
      if (kind === ALLOCATE) changes.allocated++;
      else if (kind === SHARE) changes.shared++;
      else if (kind === COPY) changes.copied++;
      else if (kind === EVICT) changes.evicted++;
      else if (kind === PREEMPT) changes.preempted.push(sequence);
      else if (kind === FINISH) changes.finished.push(sequence);
    }
    return changes;
  }

  /** Used and cached pages at the end of a frame. */
  occupancy(frame) {
    return this.history[frame] ?? this.head;
  }

  label(sequence) {
    return this.sequences.get(sequence)?.label ?? `sequence ${sequence}`;
  }

  /** Number and label, where the label says more. */
  name(sequence) {
    const label = this.label(sequence);
    return label === String(sequence) ? `#${sequence}` : `#${sequence} ${label}`;
  }

  /** The tokens in a page, as texts; unknown ones as their number. */
  texts(map, page) {
    const tokens = this.sequences.get(map.contentSequence[page])?.tokens ?? [];
    const from = map.contentLogical[page] * this.pageSize;
    return tokens.slice(from, from + map.filled[page]).map((token) => this.pieces.get(token) ?? `⟨${token}⟩`);
  }

  extend(header, events) {
    for (const [id, [label, start, tokens]] of Object.entries(header.sequences)) {
      const known = this.sequences.get(Number(id))?.tokens ?? [];
      this.sequences.set(Number(id), { label, tokens: known.slice(0, start).concat(tokens) });
    }
    for (const [token, text] of Object.entries(header.pieces)) this.pieces.set(Number(token), text);
    this.store(events);
    for (let index = this.numEvents - events.length / FIELDS; index < this.numEvents; index++) this.index(index);
  }

  store(events) {
    const taken = this.numEvents * FIELDS;
    if (this.events.length < taken + events.length) {
      const larger = new Int32Array(Math.max(2 * this.events.length, taken + events.length));
      larger.set(this.events.subarray(0, taken));
      this.events = larger;
    }
    this.events.set(events, taken);
    this.numEvents += events.length / FIELDS;
  }

  index(index) {
    const kind = this.events[index * FIELDS];
    if (kind === STEP) {
      if (!this.starts.length) {
        this.history.length = 0; // until now every event was a frame
        this.preempted.length = 0;
      }
      this.starts.push(index);
    }
    if (kind === STEP || !this.starts.length) this.history.push({ used: this.head.used, cached: this.head.cached });
    if (kind === PREEMPT) this.preempted.push(this.starts.length || index + 1);
    this.applyTo(this.head, index);
    if (index + 1 - this.checkpoints.at(-1).index >= this.spacing)
      this.checkpoints.push({ index: index + 1, map: this.head.copy() });
  }

  applyTo(map, index) {
    const at = index * FIELDS;
    map.apply(this.events[at], this.events[at + 1], this.events[at + 2], this.events[at + 3]);
  }
}
