"""The container images that the clusters run: their Dockerfile and the scripts that its build calls."""
