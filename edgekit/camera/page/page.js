// What edgekit tells, on the page. Texts from the device are set as text, never as markup.

import { drawLines } from "./lines.js";
import { Picture } from "./picture.js";

const SILENT_S = 3.5; // a second is due every second
const REOPEN_MS = 1000;
const FULL = 0.95;
const KEPT_S = 61;

const CAUSES = {
  latest: "a newer frame came",
  "drop-oldest": "the queue was full",
  corrupt: "corrupt",
  memory: "memory limit",
  failed: "failed",
  stopped: "the run ended",
};

const element = (id) => document.getElementById(id);
const picture = new Picture(element("picture"), element("seen"));

let source = null;
let facts = { bundles: [] };
let seconds = [];
let state = { state: "waiting", why: "" };
let isCut = false;
let newsMs = performance.now();

function open() {
  if (source !== null) return;
  source = new EventSource("events");
  source.addEventListener("hello", (event) => hello(JSON.parse(event.data)));
  source.addEventListener("state", (event) => take(JSON.parse(event.data)));
  source.addEventListener("second", (event) => second(JSON.parse(event.data)));
  source.addEventListener("preview", (event) => picture.show(JSON.parse(event.data)));
  source.addEventListener("power", (event) => power(JSON.parse(event.data)));
  source.addEventListener("bye", close);
  source.addEventListener("error", cut);
}

function close() {
  if (source !== null) source.close();
  source = null;
}

// The browser tries again by itself after a broken connection, but not after a refusal.
function cut() {
  if (state.state === "ended") {
    close();
    return;
  }
  isCut = true;
  if (source.readyState === EventSource.CLOSED) {
    close();
    setTimeout(visible, REOPEN_MS);
  }
  showState();
}

function hello(told) {
  facts = told;
  isCut = false;
  seconds = told.seconds;
  picture.classes = told.classes;
  document.title = told.title;
  element("title").textContent = told.title;
  element("emulated").hidden = !told.emulated;
  document.body.toggleAttribute("data-emulated", told.emulated);
  if (told.preview) picture.show(told.preview);
  if (told.power) power(told.power);
  newsMs = performance.now();
  take({ state: told.state, why: told.why });
  if (seconds.length) showSecond();
}

function take(told) {
  state = told;
  showState();
}

function second(told) {
  newsMs = performance.now();
  seconds.push(told);
  seconds = seconds.filter((each) => told.at_s - each.at_s <= KEPT_S);
  showSecond();
  showState();
}

function showState() {
  const [kind, words] = described();
  const place = element("state");
  // A status is read out whenever it is set, so only when it is another.
  if (place.textContent !== words) place.textContent = words;
  place.dataset.state = kind;
  document.body.toggleAttribute("data-over", kind !== "running" && kind !== "waiting");
  const away = state.state === "running" ? last()?.away : "";
  const notice = element("away");
  notice.hidden = !away;
  const text = away ? `The camera is away: ${away}. Waiting for it to come back.` : "";
  if (notice.textContent !== text) notice.textContent = text;
}

function described() {
  const why = state.why ? `: ${state.why}` : "";
  if (state.state === "ended") return ["ended", `Ended${why}`];
  if (isCut) return ["cut", "No connection to edgekit; trying again"];
  if (state.state === "gone") return ["gone", `The link to the device is gone${why}`];
  if (state.state === "waiting") return ["waiting", "Waiting for the first second"];
  const silent_s = (performance.now() - newsMs) / 1000;
  if (silent_s > SILENT_S) {
    return ["silent", `No news from the device for ${Math.floor(silent_s)} s`];
  }
  return last()?.away ? ["away", "The camera is away"] : ["running", "Live"];
}

function last() {
  return seconds[seconds.length - 1];
}

function showSecond() {
  const now = last();
  write("fps-in", now.fps_in, 1);
  write("fps-out", now.fps_out, 1);
  write("latency", now.latency_ms, now.latency_ms < 10 ? 1 : 0);
  showStages(now.stages);
  showFrames(now);
  showBundle(now.bundle);
  drawLines(element("fps-lines"), seconds, ["fps_in", "fps_out"], ["fps in", "fps out"]);
  drawLines(element("latency-lines"), seconds, ["latency_ms"], ["latency in ms"]);
}

function showStages(stages) {
  const rows = stages.map((stage) => {
    const row = document.createElement("tr");
    const name = cell("th", stage.name);
    name.scope = "row";
    const share = stage.busy === null ? "–" : `${Math.round(clamped(stage.busy) * 100)} %`;
    const time = stage.ms === null ? "–" : `${stage.ms.toFixed(stage.ms < 10 ? 1 : 0)} ms`;
    row.append(name, bar(stage), cell("td", share), cell("td", time), cell("td", counted(stage.depth)));
    return row;
  });
  element("stages").replaceChildren(...rows);
}

function bar(stage) {
  const share = clamped(stage.busy ?? 0);
  const place = cell("td", "");
  place.className = "share";
  const whole = document.createElement("div");
  whole.className = "bar";
  whole.toggleAttribute("data-full", share >= FULL);
  whole.setAttribute("role", "meter");
  whole.setAttribute("aria-label", `${stage.name} busy`);
  whole.setAttribute("aria-valuemin", "0");
  whole.setAttribute("aria-valuemax", "100");
  whole.setAttribute("aria-valuenow", String(Math.round(share * 100)));
  const fill = document.createElement("div");
  fill.className = "fill";
  fill.style.width = `${share * 100}%`;
  whole.append(fill);
  place.append(whole);
  return place;
}

function showFrames(now) {
  const dropped = now.dropped.reduce((sum, row) => sum + row.frames, 0);
  write("captured", now.captured, 0);
  write("delivered", now.delivered, 0);
  write("dropped", dropped, 0);
  write("lost", now.lost, 0);
  const rows = now.dropped.map((drop) => {
    const row = document.createElement("tr");
    const cause = cell("th", `${drop.stage}: ${CAUSES[drop.cause] ?? drop.cause}`);
    cause.scope = "row";
    row.append(cause, cell("td", counted(drop.frames)));
    return row;
  });
  element("causes").replaceChildren(...rows);
}

function showBundle(index) {
  const named = facts.bundles;
  const isOfMany = index !== null && named.length > 1;
  element("bundle-figure").hidden = !isOfMany;
  if (!isOfMany) return;
  element("bundle").textContent = `${named[index] ?? index} (${index + 1} of ${named.length})`;
}

function power(told) {
  element("watts-figure").hidden = told.watts === null;
  element("temperature-figure").hidden = told.temperature_c === null;
  write("watts", told.watts, 2);
  write("temperature", told.temperature_c, 0);
}

function write(id, value, digits) {
  element(id).textContent = value === null ? "–" : value.toFixed(digits);
}

function counted(value) {
  return value === null ? "–" : String(value);
}

function clamped(share) {
  return Math.min(1, Math.max(0, share));
}

function cell(name, text) {
  const made = document.createElement(name);
  made.textContent = text;
  return made;
}

// A browser keeps six connections to a server, all tabs together: a tab that nobody sees has none.
function visible() {
  if (document.visibilityState === "hidden") close();
  else if (state.state !== "ended") open();
}

document.addEventListener("visibilitychange", visible);
window.addEventListener("pagehide", close);
window.addEventListener("pageshow", visible);
setInterval(showState, 500);
visible();
