// Reads packets (files named on the command line), replays them, prints every frame as JSON.
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const [module, ...packets] = process.argv.slice(2);
const { Film } = await import(pathToFileURL(module));
const read = (path) => new Uint8Array(readFileSync(path));
const film = new Film(read(packets[0]));
for (const path of packets.slice(1)) if (!film.append(read(path))) throw new Error(`${path} does not follow`);

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
    content: [...map.contentSequence].map((id, page) => (id < 0 ? null : [id, map.contentLogical[page]])),
    sequences: Object.fromEntries(
      [...map.sequences].map(([id, v]) => [id, [[...v.pages], v.computed, v.prompt, v.hit, v.preemptions, v.finish]])),
    counts: { used: map.counts().used, cached: map.counts().cached, free: map.counts().free, waste: map.counts().waste },
  });
}
const last = film.at(film.numFrames - 1);
const texts = Array.from({ length: film.numPages }, (_, page) => film.texts(last, page));
console.log(JSON.stringify({ frames, texts }));
