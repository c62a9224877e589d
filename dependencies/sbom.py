"""`make sbom`: a CycloneDX 1.6 bill of materials of all that is locked or vendored, with licences and digests.

    python -m dependencies.sbom [FILE]        (default build/hares-tfx.cdx.json)

It is of the line of versions that is installed. One lock file gives one bill, to the byte: it has no time, and its
serial number is made of its content. Components have the SHA-256 of every file that the lock allows for them (a wheel a
platform, and the source), as external references of kind `distribution`; vendored files have their own. The licences
are those that the installed packages state.
"""

from __future__ import annotations

import functools
import hashlib
import json
import sys
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import ExternalReference, ExternalReferenceType, HashAlgorithm, HashType, XsUri
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL

from dependencies.licences import licences, vendored
from dependencies.lock import PROJECT, Pin, pins_here

DEFAULT = PROJECT / "build" / "hares-tfx.cdx.json"
_VERSION = SchemaVersion.V1_6


def bill(pins: Sequence[Pin]) -> str:
    """The bill of materials, as JSON text.

    Raises:
        LookupError: a package is not installed as locked, or does not state its licence.
    """
    factory = LicenseFactory()
    bom = Bom()
    root = Component(name="hares-tfx", type=ComponentType.APPLICATION, bom_ref="hares-tfx")
    bom.metadata.component = root
    stated = licences(list(pins))
    components = [
        Component(
            name=pin.name,
            version=pin.version,
            type=ComponentType.LIBRARY,
            purl=PackageURL("pypi", None, pin.name, pin.version),
            bom_ref=f"pkg:pypi/{pin.name}@{pin.version}",
            licenses=[factory.make_from_string(stated[pin.name])],
            external_references=[_distribution(pin, digest) for digest in pin.sha256],
        )
        for pin in pins
    ]
    for file in vendored():
        digest = hashlib.sha256((PROJECT / file.path).read_bytes()).hexdigest()
        components.append(
            Component(
                name=file.name,
                version=file.version,
                type=ComponentType.LIBRARY,
                purl=PackageURL.from_string(file.purl),
                bom_ref=file.purl,
                licenses=[factory.make_from_string(file.licence)],
                hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest)],
            )
        )
    for component in components:
        bom.components.add(component)
    bom.register_dependency(root, components)
    return _settled(json.loads(make_outputter(bom, OutputFormat.JSON, _VERSION).output_as_string()))


def _distribution(pin: Pin, digest: str) -> ExternalReference:
    return ExternalReference(
        type=ExternalReferenceType.DISTRIBUTION,
        url=XsUri(f"pkg:pypi/{pin.name}@{pin.version}"),  # from whichever index the lock is installed
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest)],
    )


def _settled(content: dict[str, Any]) -> str:
    """Without what differs from one making to the next."""
    del content["metadata"]["timestamp"], content["serialNumber"]
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    content["serialNumber"] = uuid.uuid5(uuid.NAMESPACE_OID, digest).urn
    return json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def validate(text: str) -> None:
    """Raises ValueError where a bill does not keep to CycloneDX's schema; half a minute for all that is locked."""
    error = _validator().validate_str(text)
    if error is not None:
        raise ValueError(f"the bill of materials does not keep to CycloneDX {_VERSION.to_version()}: {error}")


@functools.cache
def _validator() -> JsonStrictValidator:
    """The schema takes seconds to read."""
    return JsonStrictValidator(_VERSION)


def main(arguments: Sequence[str]) -> int:
    """Entry point; gives the exit code."""
    target = Path(arguments[0]) if arguments else DEFAULT
    pins = pins_here()
    text = bill(pins)
    validate(text)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text, encoding="utf-8")
    print(f"{target}: {len(pins)} packages and {len(vendored())} vendored files, SHA-256 of the bill "
          f"{hashlib.sha256(text.encode()).hexdigest()}")  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
