// Artifacts, steps and clips. Read when first asked for: the list of runs does not wait for it.
let lineageRead = null;
function lineage() {
  if (lineageRead) return lineageRead;
  const read = JSON.parse(at("lineage").textContent);
  const { values } = read;
  const properties = (row) => {
    const found = {};
    for (let i = 0; i < row.length; i += 2) found[values[row[i]]] = values[row[i + 1]];
    return found;
  };
  const links = (row) => {
    const found = [];
    for (let i = 0; i < row.length; i += 2) found.push({ name: values[row[i]], artifact: row[i + 1] });
    return found;
  };
  const artifactRows = new Map(read.artifacts.map((row) => [row[0], row]));
  const stepRows = new Map(read.steps.map((row) => [row[0], row]));
  const makers = new Map();
  const readers = new Map();
  for (const row of read.steps) {
    for (let i = 1; i < row[6].length; i += 2) makers.set(row[6][i], row[0]);
    for (let i = 1; i < row[5].length; i += 2) {
      if (!readers.has(row[5][i])) readers.set(row[5][i], []);
      readers.get(row[5][i]).push(row[0]);
    }
  }
  lineageRead = {
    values,
    rows: read.artifacts,
    clips: read.clips,
    has: (id) => artifactRows.has(id),
    type: (id) => values[artifactRows.get(id)[1]],
    artifact: (id) => {
      const [, type, uri, own] = artifactRows.get(id);
      return { id, type: values[type], uri: values[uri], properties: properties(own) };
    },
    node: (execution) => values[stepRows.get(execution)[1]] || values[stepRows.get(execution)[3]],
    inputs: (execution) => links(stepRows.get(execution)[5]),
    outputs: (execution) => links(stepRows.get(execution)[6]),
    step: (execution) => {
      const [, node, run, type, state, , , own] = stepRows.get(execution);
      return { execution, node: values[node], run: values[run], type: values[type], state: values[state], properties: properties(own) };
    },
    maker: (artifact) => makers.get(artifact),
    readers: (artifact) => readers.get(artifact) || [],
  };
  return lineageRead;
}
