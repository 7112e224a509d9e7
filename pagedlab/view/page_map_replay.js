// The page map as a replay of memory events: what memory/replay.py does, and what of it is drawn.

export const STEP = 0, ARRIVE = 1, ADMIT = 2, ALLOCATE = 3, SHARE = 4, COMPUTE = 5, COPY = 6, RELEASE = 7, PUBLISH = 8,
  EVICT = 9, FORK = 10, PREEMPT = 11, FINISH = 12, OFFLOAD = 13, FILL = 14, RESUME = 15;
export const NONE = -1;
export const FREE = 0, CACHED = 1, USED = 2;
export const PRUNED = 4; // how a beam ends whose place a likelier one took

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
    this.host = new Set(); // host pages whose content can be hit
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
    map.host = new Set(base.host);
    for (const [id, pages, computed, prompt, hit, preemptions, finish, swapped] of base.sequences)
      map.sequences.set(id, { pages, computed, prompt, hit, preemptions, finish, swapped });
    return map;
  }

  copy() {
    const twin = Object.assign(new PageMap(0, this.pageSize), this);
    for (const name of ["refcount", "published", "filled", "contentSequence", "contentLogical"])
      twin[name] = this[name].slice();
    twin.host = new Set(this.host);
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
      for (const page of view.pages) if (page !== NONE && owners[page] === NONE) owners[page] = id;
    return owners;
  }

  owners(page) {
    return [...this.sequences].filter(([, view]) => view.pages.includes(page)).map(([id]) => id);
  }

  /** Leading slots of a page that its sequence found in the prefix cache: the page is a copy of one that begins alike. */
  copied(page) {
    const view = this.sequences.get(this.contentSequence[page]);
    const slots = (view?.hit ?? 0) % this.pageSize;
    return slots && view.pages[Math.floor(view.hit / this.pageSize)] === page ? slots : 0;
  }

  counts() {
    const counts = { used: this.used, cached: this.cached, free: this.numPages - this.used - this.cached, shared: 0,
      slots: this.used * this.pageSize, waste: 0, hitTokens: this.hitTokens,
      running: 0, waiting: 0, preempted: 0, swapped: 0, finished: 0, pinned: 0, unpinned: 0,
      hostPages: this.host.size, hostTokens: 0 };
    for (let page = 0; page < this.numPages; page++) {
      if (this.refcount[page] > 1) counts.shared++;
      if (this.refcount[page]) counts.waste += this.pageSize - this.filled[page];
    }
    for (const [id, view] of this.sequences) {
      counts[statusOf(view, id)]++;
      counts.hostTokens += view.swapped;
    }
    return counts;
  }

  /** Move one event forward in time. */
  apply(kind, page, sequence, value) {
    if (kind === STEP) {
      this.step = value;
      return;
    }
    if (kind === OFFLOAD) {
      this.host.add(value);
      return;
    }
    if (kind === EVICT) {
      if (page >= this.numPages) {
        this.host.delete(page);
        return;
      }
      this.published[page] = 0;
      if (!this.refcount[page]) {
        this.cached--;
        this.blank(page);
      }
      return;
    }
    let view = this.sequences.get(sequence);
    if (!view) {
      view = { pages: [], computed: 0, prompt: 0, hit: 0, preemptions: 0, finish: NONE, swapped: 0 };
      this.sequences.set(sequence, view);
    }
    switch (kind) {
      case ARRIVE:
        view.prompt = value;
        break;
      case ADMIT:
        view.hit = view.computed = value;
        view.swapped = 0;
        this.hitTokens += value;
        break;
      case ALLOCATE:
        this.used++;
        this.refcount[page] = 1;
        this.blank(page);
        enter(view, value, page);
        break;
      case SHARE:
        if (this.refcount[page]++ === 0) {
          this.used++;
          this.cached--;
        }
        enter(view, value, page);
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
        leave(view, value, page);
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
        view.swapped = value;
        view.pages.length = 0;
        break;
      case FINISH:
        view.finish = value;
        view.swapped = 0;
        view.pages.length = 0;
        break;
      case FILL:
        this.filled[page] = value;
        this.contentSequence[page] = sequence;
        this.contentLogical[page] = view.pages.indexOf(page);
        break;
      case RESUME:
        view.computed = value;
        view.swapped = 0;
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

function enter(view, logical, page) {
  while (view.pages.length <= logical) view.pages.push(NONE); // a fork has none of the pages that its parent gave back
  view.pages[logical] = page; // copy-on-write puts another page behind the same logical number
}

function leave(view, logical, page) {
  if (view.pages[logical] !== page) return; // copy-on-write has put another page there
  if (logical === view.pages.length - 1) view.pages.pop();
  else view.pages[logical] = NONE; // a page behind the sliding window
}

/** Pins hold pages as sequences do, under names below zero. */
export const isPin = (id) => id < NONE;

export function statusOf(view, id) {
  if (isPin(id)) return view.pages.length ? "pinned" : "unpinned";
  if (view.finish !== NONE) return "finished";
  if (view.pages.length) return "running";
  if (view.swapped) return "swapped";
  return view.preemptions ? "preempted" : "waiting";
}

/** Pages of a table that are there, and leading ones that were given back. */
export function holesOf(pages) {
  const first = pages.findIndex((page) => page !== NONE);
  return first < 0 ? pages.length : first;
}
