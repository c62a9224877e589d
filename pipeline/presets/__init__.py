"""Presets; `pipeline/preset.py` says what a module here exposes."""
