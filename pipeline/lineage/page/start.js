// The first view, and what follows the window.
at("about").textContent = `${data.title}: ${runs.length} ${runs.length === 1 ? "run" : "runs"}, read ${data.made}`;
at("runs").append(head, spacer);
at("runs-note").textContent = RUNS_NOTE;
sortRows();
show("runs");
if (runs.length) openRun(0);
else at("run").append(make("p", "This store has no runs yet."));
let resizing = 0;
window.addEventListener("resize", () => {
  clearTimeout(resizing);
  resizing = setTimeout(() => { if (!at("view-runs").hidden) onShow.runs(); }, 100);
});
document.body.getBoundingClientRect(); // laid out, and not only made
document.documentElement.dataset.ready = String(Math.round(performance.now()));
