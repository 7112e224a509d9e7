// A trace as a film: its replay, with checkpoints, so that any frame is near.
// Packets come from view/feed.py, which describes them.

import { NONE, PRUNED, PageMap, isPin } from "./page_map_replay.js";
import { ADMIT, ALLOCATE, COPY, EVICT, FILL, FINISH, OFFLOAD, PREEMPT, RESUME, SHARE, STEP } from "./page_map_replay.js";

const FIELDS = 4;

/** bytes: a Uint8Array or DataView over one packet -> {header, events: Int32Array of rows kind, page, sequence, value} */
export function decode(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const length = view.getInt32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(bytes.buffer, bytes.byteOffset + 4, length)));
  const start = bytes.byteOffset + 4 + length;
  return { header, events: new Int32Array(bytes.buffer.slice(start, bytes.byteOffset + bytes.byteLength)) };
}

/** The packets of several traces that travelled as one (bytes: Uint8Array or DataView). */
export async function packetsIn(bytes) {
  const inflated = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  const whole = await new Response(inflated).arrayBuffer(), view = new DataView(whole);
  const packets = [];
  for (let at = 0; at < whole.byteLength; at += 4 + packets.at(-1).byteLength)
    packets.push(new Uint8Array(whole, at + 4, view.getInt32(at, true)));
  return packets;
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
    this.title = header.title;
    this.seconds = header.seconds; // at which each step ended; null where nobody said so
    this.start = header.cursor; // events recorded before the first one here
    this.sequences = new Map(); // id -> {label, tokens}
    this.pieces = new Map(); // token id -> text
    this.events = new Int32Array(0);
    this.numEvents = 0;
    this.starts = []; // index of each STEP event
    this.history = []; // of each frame but the last: {used, cached}
    this.moves = []; // {frame, kind} of sequences: preempted, swapped (to host memory), resumed (from there)
    this.hasHost = false; // something was kept in host memory
    this.hasPartialHits = false; // a page was copied because it begins as a prompt goes on
    this.hasCopies = false; // a page was copied because it was to be written
    this.spacing = Math.max(1024, this.numPages); // events between checkpoints
    this.head = PageMap.from(this.numPages, this.pageSize, header.base); // after the newest event
    const { hostPages, hostTokens } = this.head.counts();
    this.hasHost = hostPages + hostTokens > 0;
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

  /** Number of the first step that is here, or of the first event where there are no steps. */
  get first() {
    return this.starts.length ? this.events[this.starts[0] * FIELDS + 3] : this.start + 1;
  }

  get lastStep() {
    return this.events[this.starts.at(-1) * FIELDS + 3];
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

  /** What a frame did: pages it gave out or took over, copies [from, to], and how often each kind of thing happened. */
  changes(frame) {
    const pages = new Set();
    const changes = { pages, copies: [], allocated: 0, shared: 0, hitInPart: 0, evicted: 0, offloaded: 0, returned: 0,
      preempted: [], swapped: [], resumed: [], finished: [], pruned: [] };
    let filledInPart = 0; // pages of the sequence that is coming in: for a partial hit, or back from host memory
    const end = this.frameEnd(frame) * FIELDS;
    for (let at = frame ? this.frameEnd(frame - 1) * FIELDS : 0; at < end; at += FIELDS) {
      const kind = this.events[at], page = this.events[at + 1], sequence = this.events[at + 2], value = this.events[at + 3];
      if (page >= this.numPages) continue; // a host page was given up
      if (kind === ALLOCATE || kind === SHARE || kind === EVICT) pages.add(page);
      if (kind === ALLOCATE) changes.allocated++;
      else if (kind === SHARE) changes.shared++;
      else if (kind === COPY) changes.copies.push([value, page]);
      else if (kind === EVICT) changes.evicted++;
      else if (kind === OFFLOAD) changes.offloaded++;
      else if (kind === FILL && value < this.pageSize) filledInPart++;
      else if (kind === FILL) changes.returned++;
      else if (kind === ADMIT) {
        changes.hitInPart += filledInPart;
        filledInPart = 0;
      } else if (kind === RESUME) {
        changes.resumed.push(sequence);
        changes.returned += filledInPart;
        filledInPart = 0;
      } else if (kind === PREEMPT) (value > 0 ? changes.swapped : changes.preempted).push(sequence);
      else if (kind === FINISH) (value === PRUNED ? changes.pruned : changes.finished).push(sequence);
    }
    return changes;
  }

  /** Used and cached pages at the end of a frame. */
  occupancy(frame) {
    return this.history[frame] ?? this.head;
  }

  label(sequence) {
    if (isPin(sequence)) return `pin ${NONE - sequence}`;
    return this.sequences.get(sequence)?.label ?? `sequence ${sequence}`;
  }

  /** Number and label, where the label says more. */
  name(sequence) {
    const label = this.label(sequence);
    if (isPin(sequence)) return label;
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
        this.moves.length = 0;
      }
      this.starts.push(index);
    }
    if (kind === STEP || !this.starts.length) this.history.push({ used: this.head.used, cached: this.head.cached });
    const value = this.events[index * FIELDS + 3];
    const move = kind === RESUME ? "resumed" : kind !== PREEMPT ? null : value > 0 ? "swapped" : "preempted";
    if (move) this.moves.push({ frame: this.starts.length || index + 1, kind: move });
    this.hasHost ||= kind === OFFLOAD || move === "swapped";
    this.hasPartialHits ||= kind === ADMIT && value % this.pageSize > 0;
    this.hasCopies ||= kind === COPY;
    this.applyTo(this.head, index);
    if (index + 1 - this.checkpoints.at(-1).index >= this.spacing)
      this.checkpoints.push({ index: index + 1, map: this.head.copy() });
  }

  applyTo(map, index) {
    const at = index * FIELDS;
    map.apply(this.events[at], this.events[at + 1], this.events[at + 2], this.events[at + 3]);
  }
}
