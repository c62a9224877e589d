// One score of all runs, the oldest left; a click opens a run. The list of runs has the same in words.
const SPACE = "http://www.w3.org/2000/svg";
const HEIGHT = 190;
let chart = null;
const scoreName = () => at("score").value || "hares";

function roundSteps(from, to) {
  const rough = (to - from) / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((one) => one >= rough);
  const ticks = [];
  for (let value = Math.ceil(from / step) * step; value <= to + 1e-9; value += step) ticks.push(value);
  return ticks;
}
function drawChart() {
  const scored = runs.map((run, index) => ({ run, index, value: run.scores[scoreName()] }))
    .filter((one) => typeof one.value === "number").reverse();
  const without = runs.length - scored.length;
  at("chart-note").textContent = `${scored.length} of ${runs.length} runs have it` +
    (without ? "; the others did not end, or lack a task" : "");
  chart = null;
  if (!scored.length) { at("chart").replaceChildren(); return; }
  const width = Math.max(300, at("chart").clientWidth || 900);
  const [left, right, top, bottom] = [36, 10, 10, 22];
  const svg = document.createElementNS(SPACE, "svg");
  const draw = (tag, attributes, text) => {
    const element = document.createElementNS(SPACE, tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    if (text !== undefined) element.textContent = text;
    svg.append(element);
    return element;
  };
  svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
  svg.setAttribute("role", "img");
  const values = scored.map((one) => one.value);
  const [low, high] = [Math.min(...values), Math.max(...values)];
  svg.setAttribute("aria-label", `${scoreName()} of ${scored.length} runs in their order, ${percent(low)} to ${percent(high)}, ` +
    `the last ${percent(values[values.length - 1])}`);
  const margin = Math.max(0.02, (high - low) * 0.1);
  const [from, to] = [Math.max(0, low - margin), high + margin];
  const x = (i) => left + (scored.length === 1 ? 0.5 : i / (scored.length - 1)) * (width - left - right);
  const y = (value) => top + (1 - (value - from) / (to - from)) * (HEIGHT - top - bottom);
  for (const value of roundSteps(from, to)) {
    draw("line", { x1: left, x2: width - right, y1: y(value), y2: y(value) });
    draw("text", { x: left - 6, y: y(value) + 4, "text-anchor": "end" }, percent(value).replace(/\.0$/, ""));
  }
  draw("text", { x: left, y: HEIGHT - 4 }, moment(scored[0].run));
  if (scored.length > 1) draw("text", { x: width - right, y: HEIGHT - 4, "text-anchor": "end" }, moment(scored[scored.length - 1].run));
  const radius = scored.length > 400 ? 2 : 4;
  const places = new Map();
  scored.forEach((one, i) => {
    const dot = draw("circle", { cx: x(i), cy: y(one.value), r: radius, class: one.run.blessed === false ? "no" : "" });
    const title = document.createElementNS(SPACE, "title");
    title.textContent = `${one.run.id}, ${one.run.facts.encoder || ""} ${one.run.facts.objective || ""}: ${percent(one.value)}`;
    dot.append(title);
    dot.dataset.index = one.index;
    places.set(one.index, [x(i), y(one.value)]);
  });
  chart = { places, mark: draw("circle", { r: radius + 4, class: "now" }) };
  svg.addEventListener("click", (event) => {
    if (event.target.dataset.index !== undefined) reveal(Number(event.target.dataset.index));
  });
  at("chart").replaceChildren(svg);
  markChart();
}
function markChart() {
  if (!chart) return;
  const place = chart.places.get(current);
  chart.mark.setAttribute("visibility", place ? "visible" : "hidden");
  if (place) { chart.mark.setAttribute("cx", place[0]); chart.mark.setAttribute("cy", place[1]); }
}
