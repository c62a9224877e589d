"""Encoders, one family a module; see `models/encoder.py`."""
