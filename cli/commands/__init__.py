"""Subcommands of `hares`, one module each; each exposes `command`."""
