"""The container images that the clusters run, and a check of them that needs no engine."""
