"""Makes the shared runs of `pipeline_runs.py` fixtures of every test here."""

from kits.pipeline_runs import copied_corpus, full_run, made_corpus, short_run

__all__ = ["copied_corpus", "full_run", "made_corpus", "short_run"]
