"""How long the lineage page takes to be made and to load in Chromium, and how large it is.

    python -m benchmarks.lineage_page [--runs 100,3000] [--graphs 500,3000] [--folder DIR]

Stores are those of `benchmarks.lineage`, a full pipeline's 31 steps a run. Prints a line a page: seconds and highest
memory of `hares lineage page`, the size of the file, and the milliseconds from the opening of the page until its
script is through and all is laid out (the median of five browsers, by the browser's own clock). With --folder stores
are kept there, and used again by a later call.
"""

from __future__ import annotations

import argparse
import re
import shutil
import statistics
import subprocess
import tempfile
from pathlib import Path

from benchmarks.lineage import make_file, measure
from pipeline.lineage.connection import store_address
from pipeline.workspace import Workspace

LOADS = 5
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")


def loading_milliseconds(browser: str, page: Path) -> float:
    """Until the page's script is through: it writes the moment down (`data-ready`)."""
    times = []
    for _ in range(LOADS):
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
            command = [browser, *FLAGS, f"--user-data-dir={profile}", "--dump-dom", page.as_uri()]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
        found = re.search(r'<html[^>]* data-ready="(\d+)"', done.stdout)
        if found is None:
            raise RuntimeError(f"{page}: its script did not end")
        times.append(int(found[1]))
    return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", default="100,3000", help="Sizes of the stores.")
    parser.add_argument("--graphs", default="500,3000", help="Of how many runs the lineage is in the page.")
    parser.add_argument("--folder", type=Path, help="Where the stores are kept; else they are removed.")
    options = parser.parse_args()
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        raise SystemExit("no Chromium here; Debian's package is chromium")
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.folder or Path(temporary)).resolve()
        print(f"{'runs':>8}{'graphs':>8}{'seconds':>9}{'cpu':>7}{'MB':>6}{'page MB':>9}{'load ms':>9}")
        for runs in map(int, options.runs.split(",")):
            workspace = Workspace(folder / str(runs))
            make_file(workspace, store_address("", workspace.store), runs)
            for graphs in sorted({min(runs, int(number)) for number in options.graphs.split(",")}):
                page = Path(temporary) / "page.html"
                command = ["page", "--output", str(page), "--graphs", str(graphs)]
                seconds, processor, memory = measure([*command, "--workspace", str(workspace.folder)])
                loading = loading_milliseconds(browser, page)
                size = page.stat().st_size / 1e6
                print(
                    f"{runs:>8}{graphs:>8}{seconds:>9.2f}{processor:>7.2f}{memory:>6}{size:>9.1f}{loading:>9.0f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
