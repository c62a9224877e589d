// What stands beside the graph: the properties of an artifact or a step, and the clips of a manifest.
function openNode(node) {
  markNode(node);
  const panel = at("node");
  if (node[0] === "s") {
    const { node: name, properties, ...own } = lineage().step(Number(node.slice(1)));
    panel.replaceChildren(make("h2", `Step ${name}`), facts(own));
    if (indexOfRun.has(own.run)) panel.append(make("button", "Open its run", { type: "button", onclick: () => reveal(indexOfRun.get(own.run)) }));
    panel.append(make("h3", "Properties"), facts(properties));
    say(`Step ${name}`);
    return;
  }
  const id = Number(node.slice(1));
  const artifact = lineage().artifact(id);
  const centred = centre && centre.id === id;
  panel.replaceChildren(make("h2", `${shortType(artifact.type)} ${id}`), facts({ uri: artifact.uri }));
  if (!centred || centre.score) {
    panel.append(make("button", centred ? "Show all that it was made from" : "Show where it came from",
      { type: "button", onclick: () => openGraph(id) }));
  }
  const score = centred ? centre.score : "";
  const part = Object.entries(artifact.properties).map(([name, value]) => [name.replace(/^domain\//, ""), value])
    .filter(([name]) => score && (name === score || name.startsWith(`${score}/`)))
    .map(([name, value]) => [name === score ? "score" : name.slice(score.length + 1), value]);
  if (part.length) panel.append(make("h3", `Of ${score}`), facts(Object.fromEntries(part)), folded("All properties", facts(artifact.properties)));
  else panel.append(make("h3", "Properties"), facts(artifact.properties));
  const clips = lineage().clips[String(id)];
  if (clips) panel.append(make("div", null, { id: "clips" }, clipTable(clips, "")));
  say(`${shortType(artifact.type)} ${id}`);
}
const CLIPS_SHOWN = 200;
function clipTable(clips, wanted) {
  const filter = make("input", null, { type: "search", placeholder: "part of a name or digest", "aria-label": "Filter clips" });
  filter.value = wanted;
  const body = make("div", null, { class: "clips", tabindex: "0", role: "group", "aria-label": "Clips" });
  const fill = () => {
    const text = filter.value.toLowerCase();
    const found = clips.clips.filter((clip) => !text || clip.some((part) => part.toLowerCase().includes(text)));
    body.replaceChildren(table(["clip", "split", "SHA-256"], found.slice(0, CLIPS_SHOWN).map(([clip, split, path, digest]) =>
      [make("span", clip, { title: path }), split, make("code", digest)])));
    if (found.length > CLIPS_SHOWN) body.append(soft(`and ${found.length - CLIPS_SHOWN} more; filter to see them`));
  };
  filter.addEventListener("input", fill);
  fill();
  const note = clips.note ? [make("p", clips.note, { class: "bad" })] : [];
  return [make("h3", `Source clips: ${clips.clips.length}`), ...note, filter, body];
}
