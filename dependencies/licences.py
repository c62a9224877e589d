"""The licence of every locked package and vendored file, as one SPDX expression each.

From the packages' own metadata: `License-Expression` where there is one, else the classifiers, else the licence field.
Classifiers name families ("BSD License") and not versions; those stay as families, under a `LicenseRef-` as SPDX
has it for what is not on its list.
"""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Mapping
from dataclasses import dataclass

import yaml

from dependencies.lock import PROJECT, Pin

VENDORED = PROJECT / "dependencies" / "vendored.yaml"
# What metadata says, in its own words, to SPDX.
_NAMES = {
    "apache software license": "Apache-2.0",
    "apache 2.0": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache license, version 2.0": "Apache-2.0",
    "mit license": "MIT",
    "mit no attribution license (mit-0)": "MIT-0",
    "isc license (iscl)": "ISC",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "python software foundation license": "PSF-2.0",
    "bsd license": "LicenseRef-BSD",
    "bsd": "LicenseRef-BSD",
    "bsd 2-clause license": "BSD-2-Clause",
    "bsd 3-clause": "BSD-3-Clause",
    "bsd 3-clause license": "BSD-3-Clause",
    "3-clause bsd license": "BSD-3-Clause",
    "3-clause bsd": "BSD-3-Clause",
    "bsd 3-clause license or apache license, version 2.0": "BSD-3-Clause OR Apache-2.0",
}
# Packages whose metadata says nothing and whose licence file does.
_BY_FILE = {"atheris": "Apache-2.0", "namex": "Apache-2.0"}
_EXPRESSION = re.compile(
    r"(MIT|ISC|[A-Za-z]+(-[A-Za-z0-9.]+)+)( (AND|OR|WITH) (MIT|ISC|[A-Za-z]+(-[A-Za-z0-9.]+)+))*"
)
_NO_LICENCE = {"OSI Approved", "DFSG approved"}


@dataclass(frozen=True)
class Vendored:
    """A file of others in this repository."""

    name: str
    version: str
    licence: str
    path: str
    licence_path: str
    purl: str


def licence_of(pin: Pin) -> str:
    """A locked package's licence.

    Raises:
        LookupError: it is not installed in the locked version, or does not say; the message names it.
    """
    try:
        metadata = importlib.metadata.metadata(pin.name)
    except importlib.metadata.PackageNotFoundError:
        raise LookupError(f"{pin.name} {pin.version} is locked and not installed; run `make setup`") from None
    if metadata["Version"] != pin.version:
        raise LookupError(
            f"{pin.name} is locked in version {pin.version} and installed in {metadata['Version']}; run `make setup`"
        )
    # A field that is not there is None to Python's own reader, and a KeyError to the backport's, which takes its place
    # in a process that has imported Google's clients.
    expression, field = (
        metadata[key] or "" if key in metadata else "" for key in ("License-Expression", "License")
    )
    return stated_licence(expression, metadata.get_all("Classifier") or [], field, pin.name)


def stated_licence(expression: str, classifiers: list[str], field: str, name: str) -> str:
    """The licence that a package's metadata states, the most exact statement first.

    Raises:
        LookupError: it states none.
    """
    if expression:
        return expression
    families = {c.split(" :: ")[-1] for c in classifiers if c.startswith("License ::")} - _NO_LICENCE
    found = sorted({_spdx(family) for family in families})
    first = field.strip().splitlines()[0] if field.strip() else ""
    # The field may hold anything, the text of the licence or who wrote it; where it names a licence it is more exact.
    exact = _EXPRESSION.fullmatch(_spdx(first)) is not None
    if exact and (not found or found == ["LicenseRef-BSD"]):
        return _spdx(first)
    if not found and name not in _BY_FILE:
        raise LookupError(
            f"{name} does not say what its licence is; look it up and do without it, or say it here"
        )
    return " AND ".join(found) or _BY_FILE[name]


def licences(pins: list[Pin]) -> Mapping[str, str]:
    """The licence of each locked package, by name."""
    return {pin.name: licence_of(pin) for pin in pins}


def vendored() -> list[Vendored]:
    """The files of others in this repository."""
    return [Vendored(**entry) for entry in yaml.safe_load(VENDORED.read_text(encoding="utf-8"))]


def _spdx(text: str) -> str:
    return _NAMES.get(text.lower(), text)
