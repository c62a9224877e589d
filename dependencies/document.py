"""`make dependencies`: writes the tables of docs/dependencies.md anew; a test holds them against the data.

    python -m dependencies.document

What stands between two markers is made from the locks, the snapshot of advisories, our answers, the installed packages'
licences and the list of vendored files; the rest of the page is written by hand. Licences are read from what is
installed, so only those of the installed line are made anew.
"""

from __future__ import annotations

import re
from collections import defaultdict

from dependencies.audit import Audit, locks_with, snapshot_audit
from dependencies.licences import licences, vendored
from dependencies.lock import LOCK, PROJECT, pins_here

PAGE = PROJECT / "docs" / "dependencies.md"
# What asks for more than to be named, should the product be given on.
_CLOSER = re.compile(r"GPL|MPL")


def advisories_table(audit: Audit) -> str:
    """The advisories that hold, each with our answer."""
    cells = [
        [
            f"{a.package} {a.version}",
            ", ".join(a.names),
            a.what,
            a.fixed,
            ", ".join(locks_with(a)),
            o.because,
            o.answer,
        ]
        for a, o in sorted(audit.answered, key=lambda pair: (pair[0].package, pair[0].version, pair[0].names))
    ]
    head = ["package", "advisory", "what", "fixed in", "locked in", "held back because", "what we do"]
    rows = [f"| {' | '.join(row)} |" for row in (head, *cells)]
    rows.insert(1, "|---" * len(head) + "|")
    return "\n".join([f"From {audit.source}: {len(cells)} hold.", "", *rows])


def licences_table() -> str:
    """Every locked package of the installed line, and every vendored file, under its licence."""
    by_licence = defaultdict(list)
    for name, licence in licences(pins_here()).items():
        by_licence[licence].append(name)
    for file in vendored():
        by_licence[file.licence].append(f"{file.name} {file.version} (`{file.path}`)")
    rows = [
        f"| {licence}{' (*)' if _CLOSER.search(licence) else ''} | {len(names)} | {', '.join(sorted(names))} |"
        for licence, names in sorted(by_licence.items(), key=lambda item: (-len(item[1]), item[0]))
    ]
    return "\n".join(["| licence | count | packages |", "|---|---|---|", *rows])


def page(text: str) -> str:
    """The page with its tables made anew.

    Raises:
        ValueError: a marker is missing.
    """
    tables = {"advisories": advisories_table(snapshot_audit()), f"licences of {LOCK.name}": licences_table()}
    for name, table in tables.items():
        before, begin, rest = text.partition(f"<!-- {name} -->\n")
        _, end, after = rest.partition("<!-- end -->")
        if not begin or not end:
            raise ValueError(f"{PAGE.name}: expected '<!-- {name} -->' with an '<!-- end -->' after it")
        text = f"{before}{begin}\n{table}\n\n{end}{after}"
    return text


def main() -> None:
    """Entry point."""
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
