// Reads what several traces sent at once and moments as JSON (files named on the command line); prints what the clock says.
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const [folder, packet, moments] = process.argv.slice(2);
const { Film, packetsIn } = await import(pathToFileURL(`${folder}/page_map_film.js`));
const { Clock } = await import(pathToFileURL(`${folder}/page_map_clock.js`));
const films = (await packetsIn(new Uint8Array(readFileSync(packet)))).map((bytes) => new Film(bytes));
const clock = new Clock(films);
const told = JSON.parse(readFileSync(moments, "utf8")).map((moment) => ({
  frames: films.map((film) => clock.frameAt(film, moment)),
  said: clock.say(moment),
  after: clock.after(moment),
  before: clock.before(moment),
}));
console.log(JSON.stringify({ end: clock.end, titles: films.map((film) => film.title), told }));
