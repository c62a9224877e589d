"""Pretraining objectives, one a module; see `models/objective.py`."""
