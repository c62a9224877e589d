// One field for runs, artifacts and clips. "/" goes to it from anywhere.
const MOST_HITS = 50; // of each kind
let chosen = -1;
let hits = [];
let cut = false;
// Every value as a text to look in, made once.
const haystack = (() => {
  let texts = null;
  return () => { texts = texts || lineage().values.map((value) => shown(value).toLowerCase()); return texts; };
})();
const runTexts = (() => {
  let texts = null;
  return () => { texts = texts || runs.map((run) => [run.id, ...Object.values(run.facts)].join("\n").toLowerCase()); return texts; };
})();
function lookup(text) {
  const wanted = text.trim().toLowerCase();
  if (!wanted) return [];
  cut = false;
  const found = [];
  const enough = (before) => { cut = cut || found.length - before >= MOST_HITS; return found.length - before >= MOST_HITS; };
  for (let index = 0; index < runs.length && !enough(0); index += 1) {
    if (!runTexts()[index].includes(wanted)) continue;
    const run = runs[index];
    found.push({ title: `run ${run.id}`, detail: `${run.facts.encoder || ""} ${run.facts.objective || ""} HARES ${percent(run.scores.hares)}`,
      open: () => reveal(index) });
  }
  let before = found.length;
  const places = new Set(haystack().flatMap((value, place) => (value.includes(wanted) ? [place] : [])));
  for (const [id, type, uri, own] of lineage().rows) {
    if (enough(before)) break;
    if (String(id) !== wanted && !places.has(type) && !places.has(uri) && !own.some((place, i) => i % 2 && places.has(place))) continue;
    found.push({ title: `${shortType(lineage().values[type])} ${id}`, detail: lineage().values[uri], open: () => openGraph(id) });
  }
  before = found.length;
  for (const [manifest, list] of Object.entries(lineage().clips)) {
    for (const clip of list.clips) {
      if (enough(before)) return found;
      if (!clip.some((part) => part.toLowerCase().includes(wanted))) continue;
      found.push({ title: `clip ${clip[0]}`, detail: `${clip[1]}, ${clip[2]}, ${clip[3].slice(0, 16)}…`, open: () => {
        openGraph(Number(manifest));
        at("clips").replaceChildren(...clipTable(list, clip[0]));
      } });
    }
  }
  return found;
}
function drawHits() {
  const list = at("hits");
  list.hidden = !at("search").value;
  at("search").setAttribute("aria-expanded", String(!list.hidden));
  list.replaceChildren(...hits.map((hit, index) => make("li", hit.title, { role: "option", id: `hit-${index}`,
    "aria-selected": String(index === chosen), onclick: () => takeHit(index) }, [make("small", hit.detail)])));
  if (!hits.length) list.append(make("li", "Nothing has this in it.", { class: "soft" }));
  else if (cut) list.append(make("li", `The first ${MOST_HITS} of a kind; type more to narrow it down.`, { class: "soft" }));
  at("search").setAttribute("aria-activedescendant", hits[chosen] ? `hit-${chosen}` : "");
}
function takeHit(index) {
  const hit = hits[index];
  if (!hit) return;
  at("search").value = "";
  hits = [];
  drawHits();
  hit.open();
}
at("search").addEventListener("input", () => { chosen = 0; hits = lookup(at("search").value); drawHits(); say(`${hits.length} found`); });
at("search").addEventListener("keydown", (event) => {
  if (event.key === "ArrowDown") chosen = Math.min(hits.length - 1, chosen + 1);
  else if (event.key === "ArrowUp") chosen = Math.max(0, chosen - 1);
  else if (event.key === "Enter") { takeHit(chosen); return; }
  else if (event.key === "Escape") { at("search").value = ""; hits = []; }
  else return;
  event.preventDefault();
  drawHits();
  if (at(`hit-${chosen}`)) at(`hit-${chosen}`).scrollIntoView({ block: "nearest" });
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || /^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement.tagName)) return;
  at("search").focus();
  event.preventDefault();
});
document.addEventListener("click", (event) => { if (!event.target.closest(".find")) at("hits").hidden = true; });
