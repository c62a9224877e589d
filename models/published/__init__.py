"""Sources of published weights, one a module; see `models/import_weights.py`."""
