"""Builds and tries the container images without an engine."""
