"""Presets, one a module; each exposes `config()`."""
