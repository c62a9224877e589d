"""The pipeline on clusters: Vertex AI (`vertex/`) and Kubeflow Pipelines (`kfp/`)."""

import hares  # noqa: F401  # before TensorFlow, whose environment it sets
