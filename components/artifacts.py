"""Artifact types of the pipeline.

They declare no PROPERTIES, because the Kubeflow compiler rejects artifact types that do. What is known of an artifact
is in its custom properties.
"""

from tfx.types.artifact import Artifact

MANIFEST_FILE = "manifest.json"  # inside an AudioManifest
REJECTED_FILE = "rejected.jsonl"  # likewise


class AudioManifest(Artifact):
    """What ingestion found: counts, each clip used with its digest, each clip not used with its reason."""

    TYPE_NAME = "components.AudioManifest"


class Embeddings(Artifact):
    """Embeddings of one task's clips by the frozen encoder (and by the same encoder untrained)."""

    TYPE_NAME = "components.Embeddings"


class ProbeReport(Artifact):
    """The HARES scores of one model: `report.json`, `report.html` and per-clip predictions."""

    TYPE_NAME = "components.ProbeReport"


class ScoreMetrics(Artifact):
    """The scores alone, as numbers in its properties; on a cluster a `system.Metrics`, which its page tabulates."""

    TYPE_NAME = "components.ScoreMetrics"


class ReportPage(Artifact):
    """The report as one HTML file; on a cluster a `system.HTML`, which its page shows."""

    TYPE_NAME = "components.ReportPage"
