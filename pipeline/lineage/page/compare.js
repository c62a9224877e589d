// Two runs side by side: scores, settings, code, clips.
for (const run of runs) at("run-ids").append(make("option", null, { value: run.id }));
for (const id of ["first", "second"]) at(id).addEventListener("change", compare);
at("swap").addEventListener("click", () => chooseRuns(at("second").value, at("first").value));

function chooseRuns(first, second) {
  at("first").value = first;
  at("second").value = second;
  compare();
}
function changed(first, second) {
  const names = [...new Set([...Object.keys(first), ...Object.keys(second)])].sort();
  return names.filter((name) => JSON.stringify(first[name]) !== JSON.stringify(second[name]))
    .map((name) => [name, first[name], second[name]]);
}
// What the paired test says of second minus first, whichever way round it was made.
function pairOf(first, second) {
  const there = data.pairs.find((one) => one.first === first.id && one.second === second.id);
  if (there) return there;
  const back = data.pairs.find((one) => one.first === second.id && one.second === first.id);
  if (!back) return null;
  const turn = ({ difference, low, high, p_value }) => ({ difference: -difference, low: -high, high: -low, p_value });
  const other = { added: "removed", removed: "added", "only in the first run": "only in the second run", "only in the second run": "only in the first run" };
  return { scores: back.scores.map((row) => ({ ...row, paired: row.paired && turn(row.paired) })), more_clips: back.more_clips,
    clips: back.clips && back.clips.map(([node, what, split, clip, before, after]) => [node, other[what] || what, split, clip, after, before]) };
}
const hasNotes = (pair) => Boolean(pair) && pair.scores.some((row) => row.note);
function scoreRows(first, second, pair) {
  const paired = new Map((pair ? pair.scores : []).map((row) => [row.name, row]));
  const notes = hasNotes(pair);
  return inOrder([...Object.keys(first.scores), ...Object.keys(second.scores)]).map((name) => {
    const [a, b] = [first.scores[name], second.scores[name]];
    const { paired: test, note } = paired.get(name) || {};
    const difference = typeof a === "number" && typeof b === "number" ? b - a : undefined;
    const sure = test && test.p_value < 0.05;
    return [name, percent(a), percent(b), make("span", points(difference), { class: sure ? (difference > 0 ? "good" : "bad") : "" }),
      test ? `${points(test.low)} to ${points(test.high)}` : "–", test ? test.p_value.toFixed(3) : "–", ...(notes ? [note || ""] : [])];
  });
}
function manifestsOf(run) {
  const found = new Map();
  for (const id of run.artifacts) {
    if (!lineage().has(id) || lineage().type(id) !== MANIFEST) continue;
    const maker = lineage().maker(id);
    found.set(maker === undefined ? lineage().artifact(id).uri : lineage().node(maker), lineage().artifact(id));
  }
  return found;
}
// From the manifests in this page; those that are not whole are named, and not guessed from.
function clipRows(first, second) {
  const [ours, theirs] = [manifestsOf(first), manifestsOf(second)];
  const [rows, unread] = [[], []];
  for (const node of [...new Set([...ours.keys(), ...theirs.keys()])].sort()) {
    const [a, b] = [ours.get(node), theirs.get(node)];
    if (!a || !b) { rows.push([node, `only in the ${a ? "first" : "second"} run`, "", "", "", ""]); continue; }
    if (a.properties.content_digest === b.properties.content_digest) continue;
    const lists = [a, b].map((artifact) => lineage().clips[String(artifact.id)]);
    if (lists.some((list) => !list || list.note)) { unread.push(node); continue; }
    const [before, after] = lists.map((list) => new Map(list.clips.map((clip) => [`${clip[1]}\n${clip[0]}`, clip])));
    for (const key of [...new Set([...before.keys(), ...after.keys()])].sort()) {
      const [x, y] = [before.get(key), after.get(key)];
      if (x && y && x[3] === y[3] && x[4] === y[4]) continue;
      const [split, clip] = key.split("\n");
      rows.push([node, !x ? "added" : !y ? "removed" : "changed", split, clip, x ? x[3] : "", y ? y[3] : ""]);
    }
  }
  return { rows, unread };
}
function clipPart(first, second, pair, ask) {
  const title = make("h3", "Clips");
  if (!(pair && pair.clips) && (first.artifacts === null || second.artifacts === null)) {
    return [title, soft(`The clips of one of the two are not in this page. Ask: ${ask}`)];
  }
  const { rows, unread } = pair && pair.clips ? { rows: pair.clips, unread: [] } : clipRows(first, second);
  const short = (digest) => (digest ? make("code", digest.slice(0, 12), { title: digest }) : "–");
  const parts = [title];
  if (rows.length) {
    parts.push(table(["source", "what", "split", "clip", "first", "second"],
      rows.map(([node, what, split, clip, before, after]) => [node, what, split, clip, short(before), short(after)])));
  }
  if (pair && pair.clips && pair.more_clips) parts.push(soft(`and ${pair.more_clips} more. Ask: ${ask}`));
  if (unread.length) parts.push(soft(`Not all clips of ${unread.join(", ")} are in this page, and they differ. Ask: ${ask}`));
  if (!rows.length && !unread.length) parts.push(soft("The same clips."));
  return parts;
}
function compare() {
  const [first, second] = ["first", "second"].map((id) => runs[indexOfRun.get(at(id).value)]);
  const box = at("comparison");
  if (!first || !second) {
    box.replaceChildren(soft("Choose two runs, or mark two in the list of runs."));
    return;
  }
  const ask = `hares lineage diff ${first.id} ${second.id}`;
  const pair = pairOf(first, second);
  const part = (title, heads, rows, empty, numbers) => [make("h3", title), rows.length ? table(heads, rows, numbers) : soft(empty)];
  const config = (run) => data.configs[run.facts.config_digest];
  const code = (run) => ({ ...run.code, git_revision: run.facts.git_revision, git_clean: run.facts.git_clean, lock_digest: run.facts.lock_digest });
  const link = (run) => make("button", run.id, { type: "button", class: "link", onclick: () => reveal(indexOfRun.get(run.id)) });
  const about = ["encoder", "objective", "preset", "status"].map((name) => [name, first.facts[name], second.facts[name]]);
  box.replaceChildren(
    table(["", "first", "second"], [["run", link(first), link(second)], ...about]),
    ...part("Scores", ["score", "first", "second", "difference", "95% interval", "p", ...(hasNotes(pair) ? ["note"] : [])], scoreRows(first, second, pair),
      "Neither run has scores.", [1, 2, 3, 4, 5]),
    soft(pair ? "Intervals and p are paired, on the same test clips; coloured where p is below 0.05." : `No paired test in this page for these two. Ask: ${ask}`),
    ...(config(first) && config(second)
      ? part("Settings", ["setting", "first", "second"], changed(flat(config(first)), flat(config(second))), "The same settings.")
      : [make("h3", "Settings"), soft("They are not recorded of both runs.")]),
    ...part("Code", ["what", "first", "second"], changed(code(first), code(second)), "The same code."),
    ...clipPart(first, second, pair, ask),
  );
}
onShow.compare = () => {
  const scored = runs.filter((run) => Object.keys(run.scores).length);
  if (!at("first").value && !at("second").value && scored.length > 1) chooseRuns(scored[1].id, scored[0].id);
  else compare();
};
