"""The pipeline: what runs, in what order, here and with its lineage."""

import hares  # noqa: F401  # before TensorFlow, for which it sets something
