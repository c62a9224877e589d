"""TFX components: thin wrappers around `hares` and `models`.

Custom artifact types are exported here because an artifact's TYPE_NAME is also its import path in a
container (`components.Embeddings`).
"""

from components.artifacts import AudioManifest, Embeddings, ProbeReport, ReportPage, ScoreMetrics

__all__ = ["AudioManifest", "Embeddings", "ProbeReport", "ReportPage", "ScoreMetrics"]
