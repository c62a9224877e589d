// What every part uses. All text from the store is set as text and never as HTML.
const data = JSON.parse(document.getElementById("data").textContent);
const runs = data.runs;
const indexOfRun = new Map(runs.map((run, index) => [run.id, index]));
const MANIFEST = "components.AudioManifest";
const REPORT = "components.ProbeReport";
const DOMAINS = [...new Set(Object.values(data.tasks))];

const at = (id) => document.getElementById(id);
function make(tag, text, attributes = {}, children = []) {
  const element = document.createElement(tag);
  if (text !== undefined && text !== null) element.textContent = String(text);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "onclick") element.addEventListener("click", value);
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}
const soft = (text) => make("p", text, { class: "soft" });
const percent = (value) => (typeof value === "number" ? (100 * value).toFixed(1) : "–");
const points = (value) => (typeof value === "number" ? `${value < 0 ? "−" : "+"}${Math.abs(100 * value).toFixed(1)}` : "–");
const shortType = (type) => type.replace(/^components\./, "");
const shown = (value) => (typeof value === "string" ? value : JSON.stringify(value, null, 1));
const moment = (run) => (run.facts.start || run.id).slice(0, 16).replace("T", " ");

// The tasks behind a score, as `hares lineage trace` has them; none for what is no score.
function tasksOf(score) {
  if (score === "hares") return Object.keys(data.tasks);
  if (DOMAINS.includes(score)) return Object.keys(data.tasks).filter((task) => data.tasks[task] === score);
  return score in data.tasks ? [score] : [];
}
// HARES, then each domain and its tasks, then whatever else was recorded.
function inOrder(names) {
  const order = ["hares", ...DOMAINS.flatMap((domain) => [domain, ...tasksOf(domain).sort()])];
  const place = (name) => (order.includes(name) ? order.indexOf(name) : order.length);
  return [...new Set(names)].sort((a, b) => place(a) - place(b) || (a < b ? -1 : 1));
}

function facts(values) {
  const list = make("dl");
  for (const [name, value] of Object.entries(values)) {
    if (value !== null && value !== undefined) list.append(make("dt", name), make("dd", shown(value)));
  }
  return list;
}
const folded = (title, content) => make("details", null, {}, [make("summary", title), content]);
function flat(value, name = "", found = {}) {
  if (value !== null && typeof value === "object" && !Array.isArray(value)) {
    for (const [key, inner] of Object.entries(value)) flat(inner, name ? `${name}.${key}` : key, found);
  } else found[name] = value;
  return found;
}
// Cells are texts, or elements; numbers says which columns are.
function table(heads, rows, numbers = []) {
  const kind = (index) => (numbers.includes(index) ? { class: "number" } : {});
  const head = make("tr", null, {}, heads.map((name, index) => make("th", name, { scope: "col", ...kind(index) })));
  const body = rows.map((cells) => make("tr", null, {}, cells.map((cell, index) => (cell instanceof Element
    ? make("td", null, kind(index), [cell])
    : make("td", cell === undefined || cell === null || cell === "" ? "–" : shown(cell), kind(index))))));
  return make("div", null, { class: "scroll" }, [make("table", null, {}, [make("thead", null, {}, [head]), make("tbody", null, {}, body)])]);
}
// Said to those who do not see it.
const say = (text) => { at("status").textContent = text; };

const views = ["runs", "graph", "compare"];
const onShow = {};
function show(view) {
  for (const name of views) {
    at(`view-${name}`).hidden = name !== view;
    at(`tab-${name}`).setAttribute("aria-selected", String(name === view));
    at(`tab-${name}`).tabIndex = name === view ? 0 : -1;
  }
  if (onShow[view]) onShow[view]();
}
for (const [index, name] of views.entries()) {
  at(`tab-${name}`).addEventListener("click", () => show(name));
  at(`tab-${name}`).addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const next = views[(index + step + views.length) % views.length];
    show(next);
    at(`tab-${next}`).focus();
  });
}
