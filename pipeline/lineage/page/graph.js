// The lineage of one artifact or score, laid out by dagre and drawn by cytoscape.
const MOST_NODES = 400; // laying out more takes seconds, and nobody reads it
let cy = null;
let centre = null;
let alongX = true; // whether it runs from left to right
const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const labelOf = (node) => (node[0] === "s" ? lineage().node(Number(node.slice(1)))
  : `${shortType(lineage().type(Number(node.slice(1))))} ${node.slice(1)}`);

// Nodes, the nearest first, and the edges between them. `made` also goes to what was made from the artifact.
function around(id, score, made) {
  const store = lineage();
  const tasks = tasksOf(score);
  const root = store.maker(id);
  const INPUT = /^(?:embeddings|manifest|examples)_(.*)$/; // components.evaluator names them so
  const keeps = (step, name) => { // a score is not made of other tasks' embeddings
    const match = score && step === root && INPUT.exec(name);
    return !match || tasks.includes(match[1]);
  };
  const nodes = new Set([`a${id}`]);
  const walk = (stepsOf, next) => {
    const queue = [id];
    const queued = new Set(queue);
    for (let i = 0; i < queue.length; i += 1) {
      for (const step of stepsOf(queue[i])) {
        nodes.add(`s${step}`);
        for (const link of next(step)) {
          if (!store.has(link.artifact) || queued.has(link.artifact)) continue;
          queued.add(link.artifact);
          queue.push(link.artifact);
          nodes.add(`a${link.artifact}`);
        }
      }
    }
  };
  walk((artifact) => [store.maker(artifact)].filter((step) => step !== undefined),
    (step) => store.inputs(step).filter((link) => keeps(step, link.name)));
  if (made) walk(store.readers, store.outputs);
  // Ingestion makes Examples and their manifest in one step: the manifest belongs to what the Examples made.
  for (const node of [...nodes].filter((one) => one[0] === "s")) {
    for (const link of store.outputs(Number(node.slice(1)))) {
      if (store.has(link.artifact) && store.type(link.artifact) === MANIFEST) nodes.add(`a${link.artifact}`);
    }
  }
  const kept = new Set([...nodes].slice(0, MOST_NODES));
  const edges = new Map();
  for (const node of kept) {
    if (node[0] !== "s") continue;
    const step = Number(node.slice(1));
    for (const link of store.inputs(step)) {
      if (kept.has(`a${link.artifact}`) && keeps(step, link.name)) edges.set(`a${link.artifact}>${node}`, [`a${link.artifact}`, node]);
    }
    for (const link of store.outputs(step)) {
      if (kept.has(`a${link.artifact}`)) edges.set(`${node}>a${link.artifact}`, [node, `a${link.artifact}`]);
    }
  }
  return { nodes: [...kept], edges: [...edges.values()], left: nodes.size - kept.size };
}
const widthOf = (node) => 7 * labelOf(node).length + 20;
function layOut(nodes, edges, direction) {
  const layout = new dagre.graphlib.Graph();
  layout.setGraph({ rankdir: direction, nodesep: 12, ranksep: 28 });
  layout.setDefaultEdgeLabel(() => ({}));
  for (const node of nodes) layout.setNode(node, { width: widthOf(node), height: 30 });
  for (const [from, to] of edges) layout.setEdge(from, to);
  dagre.layout(layout);
  const { width, height } = layout.graph();
  const zoom = Math.min(1.2, at("graph").clientWidth / width, at("graph").clientHeight / height);
  return { place: (node) => layout.node(node), zoom };
}
function openGraph(id, score = "") {
  centre = { id, score };
  if (cy) { cy.destroy(); cy = null; }
  show("graph");
  at("graph-empty").hidden = true;
  const { nodes, edges, left } = around(id, score, at("after").checked);
  at("graph-title").textContent = `${score ? `${score}, a score of ` : ""}${labelOf(`a${id}`)}: ` +
    (left ? `the nearest ${nodes.length} of ${nodes.length + left} nodes` : `${nodes.length} nodes`);
  // Whichever way it is seen larger; on a telephone that is downwards.
  const [across, down] = ["LR", "TB"].map((direction) => layOut(nodes, edges, direction));
  alongX = across.zoom >= down.zoom;
  const layout = alongX ? across : down;
  const elements = nodes.map((node) => {
    const source = node[0] === "a" && lineage().type(Number(node.slice(1))) === MANIFEST;
    const { x, y } = layout.place(node);
    return { data: { id: node, label: labelOf(node), width: widthOf(node) }, position: { x, y },
      classes: node[0] === "s" ? "step" : source ? "source" : "artifact" };
  });
  for (const [source, target] of edges) elements.push({ data: { id: `${source}>${target}`, source, target } });
  cy = cytoscape({ container: at("graph"), elements, layout: { name: "preset" }, minZoom: 0.05, maxZoom: 3, wheelSensitivity: 0.3,
    autoungrabify: true, boxSelectionEnabled: false, style: [
      { selector: "node", style: { label: "data(label)", width: "data(width)", height: 30, "text-valign": "center", "font-size": 12,
        "font-family": "system-ui, sans-serif", color: color("--back"), "background-color": color("--score"), shape: "round-rectangle" } },
      { selector: "node.step", style: { "background-color": color("--track"), color: color("--ink"), "border-width": 1,
        "border-color": color("--soft"), shape: "rectangle" } },
      { selector: "node.source", style: { "background-color": color("--paper") } },
      { selector: "node.now", style: { "border-width": 4, "border-color": color("--fresh") } },
      { selector: "edge", style: { width: 1.5, "line-color": color("--soft"), "target-arrow-color": color("--soft"),
        "target-arrow-shape": "triangle", "curve-style": "bezier" } },
    ] });
  cy.on("tap", "node", (event) => openNode(event.target.id()));
  fitGraph();
  at("graph-list").replaceChildren(...nodes.map((node) => make("li", null, {}, [
    make("button", labelOf(node), { type: "button", onclick: () => openNode(node) })])));
  openNode(`a${id}`);
  // Whatever was pressed is hidden now, or gone.
  if (!at("view-graph").contains(document.activeElement)) at("graph").focus({ preventScroll: true });
}
function fitGraph() {
  if (!cy) return;
  cy.fit(undefined, 16);
  if (cy.zoom() > 1.2) { cy.zoom(1.2); cy.center(); }
  if (cy.zoom() >= 0.5) return;
  // Too small to read: what was asked for stands at its end of the window, and the rest is a drag away.
  cy.zoom(0.7);
  const node = cy.getElementById(`a${centre.id}`);
  cy.center(node);
  const box = node.renderedBoundingBox();
  if (alongX) cy.panBy({ x: cy.width() - 16 - box.x2, y: 0 });
  else cy.panBy({ x: 0, y: cy.height() - 16 - box.y2 });
}
function markNode(node) {
  at("graph").dataset.node = node;
  if (!cy) return;
  cy.nodes().removeClass("now");
  cy.getElementById(node).addClass("now");
}
const zoomBy = (factor) => cy && cy.zoom({ level: cy.zoom() * factor, renderedPosition: { x: cy.width() / 2, y: cy.height() / 2 } });
at("zoom-in").addEventListener("click", () => zoomBy(1.3));
at("zoom-out").addEventListener("click", () => zoomBy(1 / 1.3));
at("zoom-fit").addEventListener("click", () => cy && cy.fit(undefined, 16));
at("after").addEventListener("change", () => centre && openGraph(centre.id, centre.score));
at("graph").addEventListener("keydown", (event) => {
  if (!cy) return;
  const node = cy.getElementById(at("graph").dataset.node);
  const [along, beside] = alongX ? ["x", "y"] : ["y", "x"];
  const neighbour = (sign) => cy.nodes().filter((other) => Math.abs(other.position(along) - node.position(along)) < 5 &&
    sign * (other.position(beside) - node.position(beside)) > 0).min((other) => sign * other.position(beside)).ele;
  const nearest = (nodes) => nodes.min((other) => Math.abs(other.position(beside) - node.position(beside))).ele;
  const moves = { [alongX ? "ArrowLeft" : "ArrowUp"]: () => nearest(node.incomers("node")),
    [alongX ? "ArrowRight" : "ArrowDown"]: () => nearest(node.outgoers("node")),
    [alongX ? "ArrowUp" : "ArrowLeft"]: () => neighbour(-1), [alongX ? "ArrowDown" : "ArrowRight"]: () => neighbour(1),
    "+": () => zoomBy(1.3), "=": () => zoomBy(1.3), "-": () => zoomBy(1 / 1.3), 0: () => cy.fit(undefined, 16),
    Enter: () => at("node").focus() };
  if (!moves[event.key]) return;
  const next = moves[event.key]();
  event.preventDefault();
  if (!next || !event.key.startsWith("Arrow")) return;
  openNode(next.id());
  const box = next.renderedBoundingBox();
  if (box.x1 < 0 || box.y1 < 0 || box.x2 > cy.width() || box.y2 > cy.height()) cy.center(next);
});
let otherColours = false; // those of the graph are drawn, not styled
onShow.graph = () => {
  at("graph-empty").hidden = centre !== null;
  if (centre && otherColours) { otherColours = false; openGraph(centre.id, centre.score); } else if (cy) { cy.resize(); fitGraph(); }
};
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  otherColours = true;
  if (!at("view-graph").hidden) onShow.graph();
});
