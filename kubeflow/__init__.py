"""Clusters: the pipeline on Kubeflow Pipelines and on Vertex AI."""

import hares  # noqa: F401  # before TensorFlow, for which it sets something
