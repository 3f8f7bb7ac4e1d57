// Lines of the last minute, as SVG. A second without a value leaves a gap; one without the camera
// is shaded.

const SPACE = "http://www.w3.org/2000/svg";
const SECONDS = 60;
const WIDTH = 600;
const HEIGHT = 100;
const GAP_S = 2.5; // what lies further apart is not one line

export function drawLines(place, seconds, keys, words) {
  const shown = seconds.filter((second) => at(seconds) - second.at_s <= SECONDS);
  const values = shown.flatMap((second) => keys.map((key) => second[key])).filter(isNumber);
  const most = niceMost(Math.max(0, ...values));
  const x = (second) => WIDTH - ((at(seconds) - second.at_s) * WIDTH) / SECONDS;
  const y = (value) => HEIGHT - (value * HEIGHT) / most;
  const svg = node("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none" });
  for (const second of shown.filter((each) => each.away)) {
    const width = WIDTH / SECONDS;
    svg.append(node("rect", { x: x(second) - width, y: 0, width, height: HEIGHT }));
  }
  for (const key of keys) {
    svg.append(node("path", { class: lineClass(key), d: path(shown, key, x, y) }));
  }
  const label = document.createElement("span");
  label.className = "most";
  label.textContent = values.length ? String(most) : "";
  place.replaceChildren(svg, label);
  place.setAttribute("aria-label", described(keys, shown, words));
}

function path(seconds, key, x, y) {
  let drawn = "";
  let before = null;
  for (const second of seconds) {
    if (!isNumber(second[key])) {
      before = null;
      continue;
    }
    const joins = before !== null && second.at_s - before.at_s <= GAP_S;
    const point = `${x(second).toFixed(1)} ${y(second[key]).toFixed(1)}`;
    drawn += joins ? `L${point}` : `M${point}h0`; // a point alone is a dot, by its round ends
    before = second;
  }
  return drawn;
}

function described(keys, seconds, words) {
  const parts = keys.map((key, index) => {
    const values = seconds.map((second) => second[key]).filter(isNumber);
    if (!values.length) return `${words[index]}: unknown`;
    const [low, high] = [Math.min(...values), Math.max(...values)];
    return `${words[index]}: ${low.toFixed(1)} to ${high.toFixed(1)}`;
  });
  return `${parts.join("; ")}, over ${seconds.length} seconds`;
}

function at(seconds) {
  return seconds.length ? seconds[seconds.length - 1].at_s : 0;
}

// 1, 2 or 5 times a power of ten.
function niceMost(most) {
  if (most <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(most));
  const step = [1, 2, 3, 4, 5, 8, 10].find((each) => each * power >= most);
  return Number((step * power).toPrecision(2));
}

function lineClass(key) {
  return { fps_in: "in", fps_out: "out" }[key] ?? "latency";
}

function isNumber(value) {
  return typeof value === "number";
}

function node(name, attributes) {
  const made = document.createElementNS(SPACE, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}
