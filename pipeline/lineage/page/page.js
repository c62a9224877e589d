"use strict";
// The lineage page. All text from the store is set as text and never as HTML.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const at = (id) => document.getElementById(id);
  const runs = data.runs;
  const runById = new Map(runs.map((run) => [run.id, run]));
  const artifacts = new Map(data.artifacts.map((artifact) => [artifact.id, artifact]));
  const makers = new Map();
  const readers = new Map();
  for (const step of data.steps) {
    for (const link of step.outputs) makers.set(link.artifact, step);
    for (const link of step.inputs) {
      if (!readers.has(link.artifact)) readers.set(link.artifact, []);
      readers.get(link.artifact).push(step);
    }
  }
  const MANIFEST = "components.AudioManifest";
  const REPORT = "components.ProbeReport";
  const ROW = 30;

  function make(tag, text, attributes = {}) {
    const element = document.createElement(tag);
    if (text !== undefined && text !== null) element.textContent = String(text);
    for (const [name, value] of Object.entries(attributes)) {
      if (name === "onclick") element.addEventListener("click", value);
      else element.setAttribute(name, value);
    }
    return element;
  }
  const percent = (value) => (value === undefined || value === null ? "–" : (100 * value).toFixed(1));
  const shortType = (type) => type.replace(/^components\./, "");
  const shown = (value) => (typeof value === "string" ? value : JSON.stringify(value, null, 1));
  const moment = (run) => (run.facts.start || run.id).slice(0, 16).replace("T", " ");

  // ---- views
  const views = ["runs", "graph", "compare"];
  function show(view) {
    for (const name of views) {
      at(`view-${name}`).hidden = name !== view;
      const tab = at(`tab-${name}`);
      tab.setAttribute("aria-selected", String(name === view));
      tab.tabIndex = name === view ? 0 : -1;
    }
    if (view === "graph" && cy) { cy.resize(); fitGraph(`a${centre.id}`); }
    if (view === "runs") { drawRows(); drawChart(); }
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

  // ---- runs
  let current = 0;
  const marked = [];
  const scoreNames = [...new Set(["hares", ...runs.flatMap((run) => Object.keys(run.scores))])];
  for (const name of scoreNames) at("score").append(make("option", name, { value: name }));
  at("score").addEventListener("change", () => { drawHead(); drawRows(); drawChart(); });
  const scoreName = () => at("score").value || "hares";

  function drawHead() {
    const cells = [["", ""], ["Start", ""], ["Encoder", ""], ["Objective", "extra"], [scoreName(), "number"],
      ["Status", "extra"], ["Blessed", "extra"]];
    at("runs-head").replaceChildren(...cells.map(([text, kind]) => make("span", text, { class: kind })));
  }
  const spacer = make("div");
  at("runs").append(spacer);
  function drawRows() {
    const list = at("runs");
    spacer.style.height = `${runs.length * ROW}px`;
    list.setAttribute("aria-rowcount", runs.length);
    const first = Math.max(0, Math.floor(list.scrollTop / ROW) - 5);
    const last = Math.min(runs.length, first + Math.ceil((list.clientHeight || 420) / ROW) + 10);
    const rows = [];
    for (let index = first; index < last; index += 1) {
      const run = runs[index];
      const row = make("div", null, { class: index === current ? "row now" : "row", role: "row", id: `run-row-${index}`,
        "aria-rowindex": index + 1, "aria-selected": String(index === current),
        onclick: (event) => { current = index; if (event.target.type !== "checkbox") openRun(index); drawRows(); } });
      row.style.top = `${index * ROW}px`;
      const mark = make("input", null, { type: "checkbox", tabindex: "-1", "aria-label": `compare ${run.id}` });
      mark.checked = marked.includes(run.id);
      mark.addEventListener("change", () => toggleMark(run.id));
      row.append(mark);
      const blessed = run.blessed === null ? "–" : run.blessed ? "blessed" : "no";
      for (const [text, kind] of [[moment(run), ""], [run.facts.encoder || "–", ""], [run.facts.objective || "–", "extra"],
        [percent(run.scores[scoreName()]), "number"], [run.facts.status || "–", "extra"], [blessed, "extra"]]) {
        row.append(make("span", text, { class: kind, title: text }));
      }
      rows.push(row);
    }
    list.replaceChildren(spacer, ...rows);
    list.setAttribute("aria-activedescendant", `run-row-${current}`);
  }
  function toggleMark(id) {
    const place = marked.indexOf(id);
    if (place >= 0) marked.splice(place, 1);
    else { marked.push(id); if (marked.length > 2) marked.shift(); }
    drawRows();
    if (marked.length === 2) {
      // The older one first: what is shown is the newer one's change.
      const [older, newer] = [...marked].sort((a, b) => runs.indexOf(runById.get(b)) - runs.indexOf(runById.get(a)));
      at("first").value = older;
      at("second").value = newer;
      compare();
      at("runs-note").textContent = "Two runs are marked: see Compare.";
    }
  }
  let waiting = false;
  at("runs").addEventListener("scroll", () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; drawRows(); });
  });
  at("runs").addEventListener("keydown", (event) => {
    const page = Math.floor(at("runs").clientHeight / ROW);
    const move = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -runs.length, End: runs.length }[event.key];
    if (move) {
      current = Math.max(0, Math.min(runs.length - 1, current + move));
      const top = current * ROW;
      const list = at("runs");
      if (top < list.scrollTop) list.scrollTop = top;
      if (top + ROW > list.scrollTop + list.clientHeight) list.scrollTop = top + ROW - list.clientHeight;
      drawRows();
    } else if (event.key === "Enter") openRun(current);
    else if (event.key === " ") toggleMark(runs[current].id);
    else return;
    event.preventDefault();
  });
  function openRun(index) {
    const run = runs[index];
    const panel = at("run");
    current = index;
    panel.replaceChildren(make("h2", `Run ${run.id}`));
    if (run.artifacts === null) {
      panel.append(make("p", `Its lineage is not in this page, which has that of the newest ${data.limits.graphs} runs. ` +
        `Ask: hares lineage trace hares --run ${run.id}`, { class: "soft" }));
    } else {
      const own = run.artifacts.map((id) => artifacts.get(id)).filter(Boolean);
      const report = own.filter((artifact) => artifact.type === REPORT).pop();
      panel.append(make("h3", "Scores: where did the number come from?"));
      const chips = make("div", null, { class: "chips" });
      for (const [name, value] of Object.entries(run.scores)) {
        chips.append(make("button", `${name} ${percent(value)}`, { onclick: () => report && openGraph(report.id, name) }));
      }
      panel.append(chips, make("h3", "Artifacts"));
      const list = make("div", null, { class: "chips" });
      for (const artifact of own) {
        list.append(make("button", `${shortType(artifact.type)} ${artifact.id}`,
          { title: artifact.uri, onclick: () => openGraph(artifact.id) }));
      }
      panel.append(list);
    }
    panel.append(make("h3", "What is recorded of it"), facts({ ...run.facts, blessed: run.blessed }));
    const config = data.configs[run.facts.config_digest];
    if (config) panel.append(folded("Settings", facts(flat(config))));
    drawRows();
  }
  function facts(values) {
    const list = make("dl");
    for (const [name, value] of Object.entries(values)) {
      if (value !== null && value !== undefined) list.append(make("dt", name), make("dd", shown(value)));
    }
    return list;
  }
  function folded(title, content) {
    const box = make("details");
    box.append(make("summary", title), content);
    return box;
  }
  function flat(value, name = "", found = {}) {
    if (value !== null && typeof value === "object" && !Array.isArray(value)) {
      for (const [key, inner] of Object.entries(value)) flat(inner, name ? `${name}.${key}` : key, found);
    } else found[name] = value;
    return found;
  }

  // ---- scores over time
  function drawChart() {
    const points = runs.map((run, index) => ({ run, index, value: run.scores[scoreName()] }))
      .filter((point) => point.value !== undefined).reverse();
    const without = runs.length - points.length;
    at("chart-note").textContent = `${points.length} of ${runs.length} runs have it` +
      (without ? "; the others did not end or lack a task" : "");
    if (!points.length) { at("chart").replaceChildren(); return; }
    const space = "http://www.w3.org/2000/svg";
    const svg = document.createElementNS(space, "svg");
    const width = Math.max(320, at("chart").clientWidth || 900);
    const [left, right, top, bottom] = [36, 10, 10, 22];
    svg.setAttribute("viewBox", `0 0 ${width} 190`);
    svg.setAttribute("role", "img");
    svg.setAttribute("aria-label", `${scoreName()} of ${points.length} runs, the oldest left`);
    const values = points.map((point) => point.value);
    const [low, high] = [Math.min(...values), Math.max(...values)];
    const margin = Math.max(0.02, (high - low) * 0.1);
    const [from, to] = [Math.max(0, low - margin), Math.min(1, high + margin)];
    const x = (i) => left + (points.length === 1 ? 0.5 : i / (points.length - 1)) * (width - left - right);
    const y = (value) => top + (1 - (value - from) / (to - from)) * (190 - top - bottom);
    const draw = (tag, attributes, text) => {
      const element = document.createElementNS(space, tag);
      for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
      if (text !== undefined) element.textContent = text;
      svg.append(element);
      return element;
    };
    for (let i = 0; i <= 4; i += 1) {
      const value = from + (i / 4) * (to - from);
      draw("line", { x1: left, x2: width - right, y1: y(value), y2: y(value) });
      draw("text", { x: 2, y: y(value) + 4 }, percent(value));
    }
    draw("text", { x: left, y: 186 }, moment(points[0].run));
    draw("text", { x: width - right, y: 186, "text-anchor": "end" }, moment(points[points.length - 1].run));
    const radius = points.length > 400 ? 2 : 4;
    points.forEach((point, i) => {
      const kind = point.index === current ? "now" : point.run.blessed === false ? "no" : "";
      const dot = draw("circle", { cx: x(i), cy: y(point.value), r: radius, class: kind });
      const title = document.createElementNS(space, "title");
      title.textContent = `${point.run.id}: ${percent(point.value)}`;
      dot.append(title);
      dot.dataset.index = point.index;
    });
    svg.addEventListener("click", (event) => {
      if (event.target.dataset && event.target.dataset.index !== undefined) reveal(Number(event.target.dataset.index));
    });
    at("chart").replaceChildren(svg);
  }
  function reveal(index) {
    show("runs");
    current = index;
    at("runs").scrollTop = Math.max(0, (index - 5) * ROW);
    openRun(index);
    drawChart();
  }

  // ---- graph
  let cy = null;
  let centre = null;
  function color(name) { return getComputedStyle(document.documentElement).getPropertyValue(name).trim(); }
  function around(id, score) {
    // A task's score is not made of the other tasks' embeddings.
    const tasks = score && !["hares", "environment", "speech", "music"].includes(score) ? [score] : null;
    const nodes = new Set([`a${id}`]);
    const edges = [];
    const steps = new Set();
    const add = (step, keep) => {
      nodes.add(`s${step.execution}`);
      for (const link of step.inputs) {
        if (!artifacts.has(link.artifact) || !keep(link.name)) continue;
        edges.push([`a${link.artifact}`, `s${step.execution}`, link.name]);
        nodes.add(`a${link.artifact}`);
      }
      for (const link of step.outputs) {
        if (!artifacts.has(link.artifact)) continue;
        if (!nodes.has(`a${link.artifact}`) && artifacts.get(link.artifact).type !== MANIFEST) continue;
        nodes.add(`a${link.artifact}`);
        edges.push([`s${step.execution}`, `a${link.artifact}`, link.name]);
      }
    };
    const back = (artifact, first) => {
      const step = makers.get(artifact);
      if (!step || steps.has(step.execution)) return;
      steps.add(step.execution);
      const keep = (name) => !first || !tasks || !/^(embeddings|manifest|examples)_/.test(name) ||
        tasks.some((task) => name.endsWith(`_${task}`));
      add(step, keep);
      for (const link of step.inputs) if (keep(link.name)) back(link.artifact, false);
    };
    back(id, true);
    if (at("after").checked) {
      const queue = [id];
      const seen = new Set(queue);
      while (queue.length) {
        for (const step of readers.get(queue.shift()) || []) {
          for (const link of step.outputs) nodes.add(`a${link.artifact}`);
          if (!steps.has(step.execution)) { steps.add(step.execution); add(step, () => true); }
          for (const link of step.outputs) if (!seen.has(link.artifact)) { seen.add(link.artifact); queue.push(link.artifact); }
        }
      }
    }
    const unique = new Map(edges.filter(([from, to]) => nodes.has(from) && nodes.has(to)).map((edge) => [edge.join("|"), edge]));
    return { nodes: [...nodes], edges: [...unique.values()] };
  }
  function labelOf(node) {
    if (node[0] === "s") {
      const step = data.steps.find((one) => one.execution === Number(node.slice(1)));
      return step.node || step.type;
    }
    const artifact = artifacts.get(Number(node.slice(1)));
    return `${shortType(artifact.type)} ${artifact.id}`;
  }
  function openGraph(id, score) {
    centre = { id, score };
    if (cy) { cy.destroy(); cy = null; }
    show("graph");
    const { nodes, edges } = around(id, score);
    at("graph-title").textContent = `${score ? `${score}, a score of ` : ""}${labelOf(`a${id}`)}: ${nodes.length} nodes`;
    const layout = new dagre.graphlib.Graph();
    // On a telephone the graph runs downwards: a chain of steps is long, and the screen is high.
    const narrow = at("graph").clientWidth < 600;
    layout.setGraph({ rankdir: narrow ? "TB" : "LR", nodesep: 14, ranksep: narrow ? 24 : 34 });
    layout.setDefaultEdgeLabel(() => ({}));
    const widthOf = (node) => Math.max(60, 8 * labelOf(node).length + 16);
    for (const node of nodes) layout.setNode(node, { width: widthOf(node), height: 30 });
    for (const [from, to] of edges) layout.setEdge(from, to);
    dagre.layout(layout);
    const elements = nodes.map((node) => {
      const place = layout.node(node);
      const manifest = node[0] === "a" && artifacts.get(Number(node.slice(1))).type === MANIFEST;
      const kind = node[0] === "s" ? "step" : manifest ? "source" : "artifact";
      return { data: { id: node, label: labelOf(node), width: widthOf(node) }, classes: kind, position: { x: place.x, y: place.y } };
    });
    for (const [from, to, name] of edges) elements.push({ data: { id: `${from}>${to}>${name}`, source: from, target: to } });
    cy = cytoscape({
      container: at("graph"), elements, layout: { name: "preset" }, minZoom: 0.05, maxZoom: 3, wheelSensitivity: 0.3,
      style: [
        { selector: "node", style: { label: "data(label)", width: "data(width)", height: 30, "text-valign": "center",
          "font-size": 12, color: "#fff", "background-color": color("--score"), shape: "round-rectangle" } },
        { selector: "node.step", style: { "background-color": color("--track"), color: color("--ink"), "border-width": 1,
          "border-color": color("--soft"), shape: "rectangle" } },
        { selector: "node.source", style: { "background-color": color("--paper") } },
        { selector: "node.artifact, node.source", style: { color: color("--back") } },
        { selector: "node.now", style: { "border-width": 4, "border-color": color("--fresh") } },
        { selector: "edge", style: { width: 1.5, "line-color": color("--soft"), "target-arrow-color": color("--soft"),
          "target-arrow-shape": "triangle", "curve-style": "bezier" } },
      ],
    });
    cy.on("tap", "node", (event) => openNode(event.target.id()));
    fitGraph(`a${id}`);
    at("graph-list").replaceChildren(...nodes.map((node) => {
      const item = make("li");
      item.append(make("button", labelOf(node), { onclick: () => openNode(node) }));
      return item;
    }));
    openNode(`a${id}`);
  }
  function fitGraph(node) {
    cy.fit(undefined, 16);
    if (cy.zoom() > 1.2) { cy.zoom(1.2); cy.center(); }
    if (cy.zoom() >= 0.6) return;
    // Too small to read: what was asked for comes first, and the rest is a drag away.
    cy.zoom(0.75);
    cy.center(cy.getElementById(node).closedNeighborhood());
  }
  function openNode(node) {
    if (cy) {
      cy.nodes().removeClass("now");
      cy.getElementById(node).addClass("now");
    }
    at("graph").dataset.node = node;
    const panel = at("node");
    if (node[0] === "s") {
      const step = data.steps.find((one) => one.execution === Number(node.slice(1)));
      panel.replaceChildren(make("h2", `Step ${step.node}`),
        facts({ execution: step.execution, run: step.run, type: step.type, state: step.state }));
      if (runById.has(step.run)) {
        panel.append(make("button", "Open its run", { onclick: () => reveal(runs.indexOf(runById.get(step.run))) }));
      }
      panel.append(make("h3", "Properties"), facts(step.properties));
      return;
    }
    const artifact = artifacts.get(Number(node.slice(1)));
    panel.replaceChildren(make("h2", `${shortType(artifact.type)} ${artifact.id}`), facts({ uri: artifact.uri }));
    if (!centre || centre.id !== artifact.id || centre.score) {
      panel.append(make("button", "Centre the graph on it", { onclick: () => openGraph(artifact.id) }));
    }
    const score = centre && centre.id === artifact.id ? centre.score : "";
    const part = Object.entries(artifact.properties).filter(([name]) => score && (name === score ||
      name.startsWith(`${score}/`) || name.startsWith(`domain/${score}/`)));
    if (part.length) panel.append(make("h3", `Of ${score}`), facts(Object.fromEntries(part)));
    const rest = facts(artifact.properties);
    panel.append(part.length ? folded("All properties", rest) : make("h3", "Properties"), part.length ? "" : rest);
    const clips = data.clips[String(artifact.id)];
    if (clips) panel.append(clipTable(clips));
  }
  function clipTable(clips, wanted = "") {
    const box = make("div");
    box.append(make("h3", `Source clips: ${clips.clips.length}`));
    if (clips.note) box.append(make("p", clips.note, { class: "bad" }));
    const filter = make("input", null, { type: "search", placeholder: "part of a name or digest", "aria-label": "Filter clips" });
    filter.value = wanted;
    const body = make("div", null, { class: "clips" });
    const fill = () => {
      const text = filter.value.toLowerCase();
      const found = clips.clips.filter((clip) => !text || clip.some((part) => part.toLowerCase().includes(text)));
      const table = make("table");
      const head = make("tr");
      for (const name of ["clip", "split", "SHA-256"]) head.append(make("th", name));
      table.append(head);
      for (const [clip, split, path, digest] of found.slice(0, 200)) {
        const row = make("tr", null, { title: path });
        for (const text of [clip, split, digest]) row.append(make("td", text));
        table.append(row);
      }
      body.replaceChildren(table);
      if (found.length > 200) body.append(make("p", `and ${found.length - 200} more; filter to see them`, { class: "soft" }));
    };
    filter.addEventListener("input", fill);
    fill();
    box.append(filter, body);
    return box;
  }
  at("zoom-in").addEventListener("click", () => cy && cy.zoom(cy.zoom() * 1.3));
  at("zoom-out").addEventListener("click", () => cy && cy.zoom(cy.zoom() / 1.3));
  at("zoom-fit").addEventListener("click", () => cy && cy.fit(undefined, 24));
  at("after").addEventListener("change", () => centre && openGraph(centre.id, centre.score));
  at("graph").addEventListener("keydown", (event) => {
    if (!cy) return;
    const node = cy.getElementById(at("graph").dataset.node);
    const beside = (up) => {
      const all = cy.nodes().filter((other) => Math.abs(other.position("x") - node.position("x")) < 30 && other.id() !== node.id() &&
        (up ? other.position("y") < node.position("y") : other.position("y") > node.position("y")));
      return all.sort((a, b) => Math.abs(a.position("y") - node.position("y")) - Math.abs(b.position("y") - node.position("y")))[0];
    };
    let next = null;
    if (event.key === "ArrowLeft") next = node.incomers("node")[0];
    else if (event.key === "ArrowRight") next = node.outgoers("node")[0];
    else if (event.key === "ArrowUp") next = beside(true);
    else if (event.key === "ArrowDown") next = beside(false);
    else if (event.key === "+" || event.key === "=") cy.zoom(cy.zoom() * 1.3);
    else if (event.key === "-") cy.zoom(cy.zoom() / 1.3);
    else if (event.key === "0") cy.fit(undefined, 24);
    else return;
    event.preventDefault();
    if (next) { openNode(next.id()); cy.center(next); }
  });

  // ---- compare
  for (const run of runs) at("run-ids").append(make("option", null, { value: run.id }));
  for (const id of ["first", "second"]) at(id).addEventListener("change", compare);
  function table(title, heads, rows, empty) {
    const box = make("div", null, { class: "scroll" });
    box.append(make("h3", title));
    if (!rows.length) { box.append(make("p", empty, { class: "soft" })); return box; }
    const element = make("table");
    const head = make("tr");
    for (const name of heads) head.append(make("th", name));
    element.append(head);
    for (const cells of rows) {
      const row = make("tr");
      for (const cell of cells) row.append(make("td", cell === undefined || cell === null ? "–" : shown(cell)));
      element.append(row);
    }
    box.append(element);
    return box;
  }
  function changed(first, second) {
    const names = [...new Set([...Object.keys(first), ...Object.keys(second)])].sort();
    return names.filter((name) => JSON.stringify(first[name]) !== JSON.stringify(second[name]))
      .map((name) => [name, first[name], second[name]]);
  }
  function manifestsOf(run) {
    const found = new Map();
    for (const id of run.artifacts || []) {
      const artifact = artifacts.get(id);
      if (artifact && artifact.type === MANIFEST) found.set((makers.get(id) || {}).node || artifact.uri, artifact);
    }
    return found;
  }
  function clipChanges(first, second) {
    const rows = [];
    const [ours, theirs] = [manifestsOf(first), manifestsOf(second)];
    for (const node of [...new Set([...ours.keys(), ...theirs.keys()])].sort()) {
      const [a, b] = [ours.get(node), theirs.get(node)];
      if (!a || !b) { rows.push([node, a ? "only in the first" : "only in the second", "", ""]); continue; }
      if (a.properties.content_digest === b.properties.content_digest) continue;
      const index = (artifact) => new Map(((data.clips[String(artifact.id)] || {}).clips || [])
        .map((clip) => [`${clip[1]} ${clip[0]}`, clip[3]]));
      const [before, after] = [index(a), index(b)];
      for (const key of [...new Set([...before.keys(), ...after.keys()])].sort()) {
        if (before.get(key) === after.get(key)) continue;
        const what = !before.has(key) ? "added" : !after.has(key) ? "removed" : "changed";
        rows.push([node, what, key, `${(before.get(key) || "–").slice(0, 12)} → ${(after.get(key) || "–").slice(0, 12)}`]);
      }
    }
    return rows;
  }
  function compare() {
    const [first, second] = [runById.get(at("first").value), runById.get(at("second").value)];
    const box = at("comparison");
    if (!first || !second) {
      box.replaceChildren(make("p", "Choose two runs, or mark two in the list of runs.", { class: "soft" }));
      return;
    }
    const pair = data.pairs.find((one) => one.first === first.id && one.second === second.id);
    const paired = new Map((pair ? pair.scores : []).map((row) => [row.name.toLowerCase(), row.paired]));
    const names = [...new Set([...Object.keys(first.scores), ...Object.keys(second.scores)])];
    const scores = names.map((name) => {
      const [a, b, test] = [first.scores[name], second.scores[name], paired.get(name)];
      const difference = a === undefined || b === undefined ? "–" : `${b >= a ? "+" : ""}${(100 * (b - a)).toFixed(1)}`;
      const interval = test ? `${percent(test.low)} to ${percent(test.high)}` : "–";
      return [name, percent(a), percent(b), difference, interval, test ? Number(test.p_value).toFixed(3) : "–"];
    });
    const config = (run) => flat(data.configs[run.facts.config_digest] || {});
    const code = (run) => ({ ...run.code, git_revision: run.facts.git_revision, git_clean: run.facts.git_clean, lock_digest: run.facts.lock_digest });
    box.replaceChildren(
      table("Scores", ["score", "first", "second", "difference", "95% paired", "p"], scores, "Neither run has scores."),
      make("p", pair ? "Intervals and p are paired, on the same test clips." :
        `No paired test in this page for these two. Ask: hares lineage diff ${first.id} ${second.id}`, { class: "soft" }),
      table("Settings", ["setting", "first", "second"], changed(config(first), config(second)), "The same settings."),
      table("Code", ["what", "first", "second"], changed(code(first), code(second)), "The same code."),
      first.artifacts === null || second.artifacts === null
        ? make("p", "The clips of one of the two are not in this page.", { class: "soft" })
        : table("Clips", ["source", "what", "split and clip", "SHA-256"], clipChanges(first, second), "The same clips."),
    );
  }

  // ---- search
  let chosen = -1;
  let hits = [];
  function lookup(text) {
    const wanted = text.toLowerCase();
    const found = [];
    const full = () => found.length >= 60;
    runs.forEach((run, index) => {
      if (full()) return;
      if ([run.id, ...Object.values(run.facts)].some((value) => String(value).toLowerCase().includes(wanted))) {
        found.push({ title: `run ${run.id}`, detail: `${run.facts.encoder || ""} ${run.facts.objective || ""} HARES ${percent(run.scores.hares)}`,
          open: () => reveal(index) });
      }
    });
    for (const artifact of artifacts.values()) {
      if (found.length >= 120) break;
      const texts = [String(artifact.id), artifact.type, artifact.uri, ...Object.values(artifact.properties).map(shown)];
      if (texts.some((value) => value.toLowerCase().includes(wanted))) {
        found.push({ title: `${shortType(artifact.type)} ${artifact.id}`, detail: artifact.uri, open: () => openGraph(artifact.id) });
      }
    }
    for (const [manifest, { clips }] of Object.entries(data.clips)) {
      for (const clip of clips) {
        if (found.length >= 180) return found;
        if (clip.some((part) => part.toLowerCase().includes(wanted))) {
          found.push({ title: `clip ${clip[0]}`, detail: `${clip[1]}, ${clip[2]}, ${clip[3].slice(0, 16)}…`, open: () => {
            openGraph(Number(manifest));
            at("node").lastElementChild.replaceWith(clipTable(data.clips[manifest], clip[0]));
          } });
        }
      }
    }
    return found;
  }
  function drawHits() {
    const list = at("hits");
    list.hidden = !at("search").value;
    at("search").setAttribute("aria-expanded", String(!list.hidden));
    list.replaceChildren(...hits.map((hit, index) => {
      const item = make("li", hit.title, { role: "option", id: `hit-${index}`, "aria-selected": String(index === chosen),
        onclick: () => takeHit(index) });
      item.append(make("small", hit.detail));
      return item;
    }));
    if (!hits.length) list.append(make("li", "nothing has this in it"));
    at("search").setAttribute("aria-activedescendant", chosen >= 0 ? `hit-${chosen}` : "");
  }
  function takeHit(index) {
    const hit = hits[index];
    if (!hit) return;
    at("search").value = "";
    hits = [];
    drawHits();
    hit.open();
  }
  at("search").addEventListener("input", () => { chosen = 0; hits = at("search").value ? lookup(at("search").value) : []; drawHits(); });
  at("search").addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown") chosen = Math.min(hits.length - 1, chosen + 1);
    else if (event.key === "ArrowUp") chosen = Math.max(0, chosen - 1);
    else if (event.key === "Enter") { takeHit(chosen); return; }
    else if (event.key === "Escape") { at("search").value = ""; hits = []; }
    else return;
    event.preventDefault();
    drawHits();
    const item = at(`hit-${chosen}`);
    if (item) item.scrollIntoView({ block: "nearest" });
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && !/^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement.tagName)) {
      at("search").focus();
      event.preventDefault();
    }
  });
  document.addEventListener("click", (event) => {
    if (!event.target.closest(".find")) at("hits").hidden = true;
  });

  at("about").textContent = `${data.title}: ${runs.length} runs, read ${data.made}`;
  drawHead();
  show("runs");
  if (runs.length) openRun(0);
  else at("run").append(make("p", "This store has no runs yet."));
  compare();
  window.addEventListener("resize", drawChart);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => centre && openGraph(centre.id, centre.score));
  document.documentElement.dataset.ready = String(Math.round(performance.now()));
})();
