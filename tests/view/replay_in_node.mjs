// Reads packets (files named on the command line), replays them, prints every frame as JSON.
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const [module, ...packets] = process.argv.slice(2);
const { Film } = await import(pathToFileURL(module));
const { holesOf, isPin, statusOf } = await import(new URL("page_map_replay.js", pathToFileURL(module)));
const read = (path) => new Uint8Array(readFileSync(path));
const film = new Film(read(packets[0]));
for (const path of packets.slice(1)) if (!film.append(read(path))) throw new Error(`${path} does not follow`);

const ofSequences = (map, of) => Object.fromEntries([...map.sequences].map(([id, view]) => [id, of(id, view)]));
const frames = [];
const order = Array.from({ length: film.numFrames }, (_, frame) => frame);
// Backwards first: what checkpoints are for.
for (const frame of [...order].reverse()) film.at(frame);
for (const frame of order) {
  const map = film.at(frame);
  frames.push({
    step: map.step,
    hit_tokens: map.hitTokens,
    refcount: [...map.refcount],
    published: [...map.published].map(Boolean),
    filled: [...map.filled],
    content: [...map.contentSequence].map((id, page) => (id === -1 ? null : [id, map.contentLogical[page]])),
    host: [...map.host].sort((a, b) => a - b),
    sequences: ofSequences(map, (id, v) => [[...v.pages], v.computed, v.prompt, v.hit, v.preemptions, v.finish, v.swapped]),
    statuses: ofSequences(map, (id, v) => (isPin(id) ? undefined : statusOf(v, id))),
    holes: ofSequences(map, (id, v) => holesOf(v.pages)),
    copied: [...map.refcount.keys()].map((page) => map.copied(page)),
    counts: ["used", "cached", "free", "shared", "waste", "running", "waiting", "swapped", "hostPages", "hostTokens"]
      .map((name) => map.counts()[name]),
  });
}
const last = film.at(film.numFrames - 1);
const texts = Array.from({ length: film.numPages }, (_, page) => film.texts(last, page));
console.log(JSON.stringify({ frames, texts }));
