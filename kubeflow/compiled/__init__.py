"""Compiled pipelines: `compile` makes one, `file` reads and writes it, `local_run` runs it on this machine."""
