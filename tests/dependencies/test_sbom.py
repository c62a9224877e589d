"""The bill of materials and the page of dependencies: whole, the same every time, and what the data says."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from dependencies.document import PAGE, page
from dependencies.licences import stated_licence, vendored
from dependencies.lock import LOCK, pins_here
from dependencies.sbom import bill, validate

pytestmark = pytest.mark.slow

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def text() -> str:
    return bill(pins_here())


def test_every_locked_package_is_in_the_bill_with_its_digests_and_licence(text: str) -> None:
    components = {c["purl"]: c for c in json.loads(text)["components"]}
    blocks = re.split(r"\n(?=[A-Za-z0-9])", LOCK.read_text())
    heads = {block: Requirement(block.partition(" \\\n")[0]) for block in blocks}
    wanted = {
        f"pkg:pypi/{str(head).partition(';')[0].replace('==', '@')}": set(re.findall(r"sha256:(\w+)", block))
        for block, head in heads.items()
        if head.marker is None or head.marker.evaluate()
    }
    assert set(wanted) == {purl for purl in components if purl.startswith("pkg:pypi/")}
    for purl, digests in wanted.items():
        there = {h["content"] for ref in components[purl]["externalReferences"] for h in ref["hashes"]}
        assert there == digests and components[purl]["licenses"], purl


def test_vendored_scripts_are_in_it_as_they_lie_here(text: str) -> None:
    components = {c["purl"]: c for c in json.loads(text)["components"]}
    scripts = {str(path.relative_to(PROJECT)) for path in (PROJECT / "pipeline").rglob("*.min.js")}
    assert scripts == {file.path for file in vendored()}
    for file in vendored():
        (digest,) = components[file.purl]["hashes"]
        assert digest["content"] == hashlib.sha256((PROJECT / file.path).read_bytes()).hexdigest()
        fetched = (PROJECT / file.path).with_name("fetch.sh").read_text()
        assert f"fetch {file.name} {file.version} " in fetched
        assert "Permission is hereby granted, free of charge" in (PROJECT / file.licence_path).read_text()


def test_one_lock_gives_one_bill(text: str) -> None:
    """In a process of another hash seed too, where sets come in another order."""
    code = (
        "import hashlib\nfrom dependencies.lock import pins_here\nfrom dependencies.sbom import bill\n"
        "print(hashlib.sha256(bill(pins_here()).encode()).hexdigest())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=PROJECT, env={**os.environ, "PYTHONHASHSEED": "7"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == hashlib.sha256(text.encode()).hexdigest()
    first, second = (json.loads(bill(pins_here()[:number]))["serialNumber"] for number in (1, 2))
    assert first != second, "another bill, another number"


def test_the_bill_keeps_to_the_schema_and_the_schema_is_looked_at() -> None:
    """Of a few packages, since all of them take half a minute; `make sbom` checks its own whole."""
    few = bill(pins_here()[:3])
    validate(few)
    broken = json.loads(few)
    broken["components"][0]["type"] = "spell"
    with pytest.raises(ValueError, match=r"CycloneDX 1\.6"):
        validate(json.dumps(broken))


@pytest.mark.parametrize(
    "expression, classifiers, field, licence",
    [
        ("MIT OR Apache-2.0", ["License :: OSI Approved :: BSD License"], "ISC", "MIT OR Apache-2.0"),
        ("", ["License :: OSI Approved :: Apache Software License"], "whatever", "Apache-2.0"),
        ("", ["License :: OSI Approved :: BSD License"], "BSD 3-Clause", "BSD-3-Clause"),
        ("", ["License :: OSI Approved :: BSD License"], "Copyright (c) 2005\nmore", "LicenseRef-BSD"),
        ("", ["License :: OSI Approved", "Topic :: Software"], "MPL-2.0 AND MIT", "MPL-2.0 AND MIT"),
        ("", ["License :: OSI Approved :: MIT License", "License :: OSI Approved :: BSD License"], "Dual License",
         "LicenseRef-BSD AND MIT"),
    ],
)  # fmt: skip
def test_the_most_exact_statement_of_a_licence_counts(
    expression: str, classifiers: list[str], field: str, licence: str
) -> None:
    assert stated_licence(expression, classifiers, field, "package") == licence


def test_a_package_without_a_licence_is_named() -> None:
    with pytest.raises(LookupError, match="odd does not say what its licence is"):
        stated_licence("", ["Topic :: Software"], "UNKNOWN", "odd")


def test_the_page_says_what_the_data_says() -> None:
    """`make dependencies` writes it anew."""
    text = PAGE.read_text()
    assert page(text) == text
    table = text.partition(f"<!-- licences of {LOCK.name} -->")[2].partition("<!-- end -->")[0]
    for pin in pins_here():
        assert re.search(rf"[ |]{re.escape(pin.name)}[, |]", table), pin.name
