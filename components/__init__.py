"""TFX components: thin wrappers around `hares` and `models`.

Custom artifact types are exported here because an artifact's TYPE_NAME is also its import path in a container
(`components.Embeddings`). Importing them imports TFX, so that waits until they are used: the lineage commands need
`components.properties` alone.

pyarrow-hotfix comes before all of TFX. TFX 1.15 needs Arrow 10, which runs code that a file's column type holds; the
hotfix refuses such types from the moment it is imported.
"""

from typing import TYPE_CHECKING, Any

import pyarrow_hotfix  # noqa: F401

import models  # noqa: F401  # before TensorFlow, for which it sets something

if TYPE_CHECKING:
    from components.artifacts import AudioManifest, Embeddings, ProbeReport, ReportPage, ScoreMetrics

__all__ = ["AudioManifest", "Embeddings", "ProbeReport", "ReportPage", "ScoreMetrics"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'components' has no attribute {name!r}")
    from components import artifacts

    return getattr(artifacts, name)
