"""Makes the servers of `bucket_fixtures.py` fixtures of every test here."""

from kits.bucket_fixtures import between, found, gs_server, prefix, s3_server, server

__all__ = ["between", "found", "gs_server", "prefix", "s3_server", "server"]
