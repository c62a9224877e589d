// Filters and sorting of the leaderboard. Without it the page is whole: every row, the highest HARES first.
"use strict";
(() => {
  const form = document.querySelector("form");
  const tables = [...document.querySelectorAll("table.board")];
  const checked = (name) => form.elements[name].checked;

  function filter() {
    const words = form.elements.named.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const table of tables) {
      const rows = [...table.tBodies[0].rows];
      for (const row of rows) {
        const data = row.dataset;
        const text = row.cells[0].textContent.toLowerCase();
        row.hidden =
          !words.every((word) => text.includes(word)) ||
          (checked("complete") && data.complete !== "1") ||
          (checked("official") && data.official !== "1") ||
          (!checked("paper") && data.paper === "1");
      }
      const shown = rows.filter((row) => !row.hidden).length;
      table.closest("section").querySelector("output").textContent = `${shown} of ${rows.length} rows`;
    }
  }

  function sort(table, column, rising) {
    const sign = rising ? 1 : -1;
    const value = (row) => (column === 0 ? row.dataset.name : parseFloat(row.cells[column].dataset.value));
    const order = (a, b) => {
      const [x, y] = [value(a), value(b)];
      if (column === 0) return sign * x.localeCompare(y);
      // A row without a score comes last, whichever way.
      return Number.isNaN(x) - Number.isNaN(y) || (Number.isNaN(x) ? 0 : sign * (x - y));
    };
    table.tBodies[0].append(...[...table.tBodies[0].rows].sort(order));
    [...table.tHead.rows[0].cells].forEach((cell, place) => {
      if (place === column) cell.setAttribute("aria-sort", rising ? "ascending" : "descending");
      else cell.removeAttribute("aria-sort");
    });
  }

  for (const table of tables) {
    [...table.tHead.rows[0].cells].forEach((cell, column) => {
      cell.querySelector("button").addEventListener("click", () => {
        const now = cell.getAttribute("aria-sort");
        sort(table, column, now ? now === "descending" : column === 0);
      });
    });
  }
  form.addEventListener("input", filter);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;
  filter();
  document.documentElement.dataset.ready = "1";
})();
