"""TFX components: thin wrappers around `hares` and `models`.

Custom artifact types are exported here because an artifact's TYPE_NAME is also its import path in a
container (`components.Embeddings`).

pyarrow-hotfix comes before all of TFX: TFX 1.15 holds Arrow at version 10, which runs code that a file's column type
holds, and the hotfix refuses such types from the moment it is imported.
"""

import hares  # noqa: F401, I001  # before TensorFlow, for which it sets something
import pyarrow_hotfix  # noqa: F401

from components.artifacts import AudioManifest, Embeddings, ProbeReport, ReportPage, ScoreMetrics

__all__ = ["AudioManifest", "Embeddings", "ProbeReport", "ReportPage", "ScoreMetrics"]
