// The list of runs: only the rows in sight are in the document.
const ROW = 30;
let current = 0; // of `runs`, whatever the order of the rows
let order = runs.map((_, index) => index); // the newest first, as the store gave them
let sorted = { column: 0, down: true };
const marked = [];
const columns = [
  { name: () => "Start", text: moment, key: (run) => -indexOfRun.get(run.id) },
  { name: () => "Encoder", text: (run) => run.facts.encoder || "–" },
  { name: () => "Objective", text: (run) => run.facts.objective || "–", kind: "extra" },
  { name: scoreName, text: (run) => percent(run.scores[scoreName()]), key: (run) => run.scores[scoreName()] ?? -1, kind: "number" },
  { name: () => "Status", text: (run) => run.facts.status || "–", kind: "extra" },
  { name: () => "Blessed", text: (run) => (run.blessed === null ? "–" : run.blessed ? "blessed" : "no"), kind: "extra" },
];
for (const name of inOrder(["hares", ...runs.flatMap((run) => Object.keys(run.scores))])) at("score").append(make("option", name, { value: name }));
at("score").addEventListener("change", () => { sortRows(); drawRows(); drawChart(); });

const spacer = make("div", null, { role: "presentation" });
const head = make("div", null, { class: "row head", role: "row" });
function drawHead() {
  head.replaceChildren(make("span", "", { role: "columnheader", "aria-label": "marked to compare" }), ...columns.map((column, index) => {
    const now = sorted.column === index;
    const button = make("button", `${column.name()}${now ? (sorted.down ? " ▾" : " ▴") : ""}`, { type: "button", onclick: () => {
      sorted = { column: index, down: now ? !sorted.down : true };
      sortRows();
      at("runs").scrollTop = 0;
      drawRows();
      head.children[index + 1].firstChild.focus();
    } });
    return make("span", null, { role: "columnheader", class: column.kind || "",
      "aria-sort": now ? (sorted.down ? "descending" : "ascending") : "none" }, [button]);
  }));
}
function sortRows() {
  const { key, text } = columns[sorted.column];
  const keys = runs.map(key || text);
  const sign = sorted.down ? -1 : 1;
  order = runs.map((_, index) => index).sort((a, b) => (keys[a] < keys[b] ? -sign : keys[a] > keys[b] ? sign : a - b));
  drawHead();
}
function drawRows() {
  const list = at("runs");
  const height = list.clientHeight || 420;
  spacer.style.height = `${runs.length * ROW}px`;
  list.setAttribute("aria-rowcount", runs.length + 1);
  const first = Math.max(0, Math.floor(list.scrollTop / ROW) - 5);
  const last = Math.min(runs.length, first + Math.ceil(height / ROW) + 10);
  const rows = [];
  for (let position = first; position < last; position += 1) rows.push(rowOf(position));
  spacer.replaceChildren(...rows);
  list.setAttribute("aria-activedescendant", order.indexOf(current) >= 0 ? `run-row-${current}` : "");
}
function rowOf(position) {
  const index = order[position];
  const run = runs[index];
  const now = index === current;
  const row = make("div", null, { class: now ? "row now" : "row", role: "row", id: `run-row-${index}`, "aria-rowindex": position + 2,
    "aria-selected": String(now), onclick: (event) => { if (event.target.type !== "checkbox") openRun(index); } });
  row.style.top = `${position * ROW}px`;
  const mark = make("input", null, { type: "checkbox", tabindex: "-1", "aria-label": `compare ${run.id}` });
  mark.checked = marked.includes(run.id);
  mark.addEventListener("change", () => { toggleMark(run.id); at("runs").focus({ preventScroll: true }); });
  row.append(make("span", null, { role: "gridcell" }, [mark]));
  for (const column of columns) {
    const text = column.text(run);
    row.append(make("span", text, { role: "gridcell", class: column.kind || "", title: text }));
  }
  return row;
}
function toggleMark(id) {
  const place = marked.indexOf(id);
  if (place >= 0) marked.splice(place, 1);
  else { marked.push(id); if (marked.length > 2) marked.shift(); }
  drawRows();
  if (marked.length < 2) { at("runs-note").replaceChildren(RUNS_NOTE); return; }
  // The older one first: what is shown is the newer one's change.
  const [newer, older] = [...marked].sort((a, b) => indexOfRun.get(a) - indexOfRun.get(b));
  chooseRuns(older, newer);
  at("runs-note").replaceChildren("Two runs are marked. ", make("button", "Compare them", { type: "button", onclick: () => show("compare") }));
  say("Two runs are marked: see Compare.");
}
const RUNS_NOTE = "Arrow keys move, Enter opens, Space marks a run to compare.";
function scrollTo(position) {
  const list = at("runs");
  const [top, room] = [position * ROW, list.clientHeight - ROW]; // the head covers one row
  if (top < list.scrollTop) list.scrollTop = top;
  if (top + ROW > list.scrollTop + room) list.scrollTop = top + ROW - room;
}
let waiting = false;
at("runs").addEventListener("scroll", () => {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => { waiting = false; drawRows(); });
});
at("runs").addEventListener("keydown", (event) => {
  if (!runs.length || event.target !== at("runs")) return; // the head's buttons have keys of their own
  const page = Math.max(1, Math.floor(at("runs").clientHeight / ROW) - 2);
  const move = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -runs.length, End: runs.length }[event.key];
  if (move) {
    const position = Math.max(0, Math.min(runs.length - 1, order.indexOf(current) + move));
    current = order[position];
    scrollTo(position);
    drawRows();
    markChart();
  } else if (event.key === "Enter") openRun(current);
  else if (event.key === " ") toggleMark(runs[current].id);
  else return;
  event.preventDefault();
});
function reveal(index) {
  show("runs");
  at("runs").scrollTop = Math.max(0, (order.indexOf(index) - 5) * ROW);
  openRun(index);
  at("runs").focus({ preventScroll: true });
}
function openRun(index) {
  const run = runs[index];
  current = index;
  at("run").replaceChildren(make("h2", `Run ${run.id}`), ...(run.artifacts === null
    ? [make("p", `Its lineage is not in this page, which has that of the newest ${data.limits.graphs} runs. ` +
        `Ask: hares lineage trace hares --run ${run.id}`, { class: "soft" })]
    : scoresOf(run)),
  make("h3", "What is recorded of it"), facts({ ...run.facts, blessed: run.blessed }), ...artifactsOf(run));
  const config = data.configs[run.facts.config_digest];
  if (config) at("run").append(folded("Settings", facts(flat(config))));
  drawRows();
  markChart();
}
function scoresOf(run) {
  const names = inOrder(Object.keys(run.scores));
  if (!names.length) return [soft("It has no scores: its evaluator did not end.")];
  const open = (name) => {
    const report = [...run.artifacts].reverse().find((id) => lineage().has(id) && lineage().type(id) === REPORT);
    if (report !== undefined) openGraph(report, name);
  };
  const chips = names.map((name) => make("button", `${name} ${percent(run.scores[name])}`,
    { type: "button", class: name === "hares" || DOMAINS.includes(name) ? "mean" : "", onclick: () => open(name) }));
  return [make("h3", "Scores"), soft("Press one to see where it came from."), make("div", null, { class: "chips" }, chips)];
}
function artifactsOf(run) {
  if (!run.artifacts || !run.artifacts.length) return [];
  const chips = make("div", null, { class: "chips" });
  const box = folded(`Artifacts: ${run.artifacts.length}`, chips);
  box.addEventListener("toggle", () => { // their types are known once the lineage is read
    chips.replaceChildren(...run.artifacts.filter((id) => lineage().has(id)).map((id) =>
      make("button", `${shortType(lineage().type(id))} ${id}`, { type: "button", onclick: () => openGraph(id) })));
  }, { once: true });
  return [box];
}
onShow.runs = () => { drawRows(); drawChart(); };
