"""Makes the runs that the pipeline's tests share fixtures here too."""

from pipeline_runs import made_corpus, short_run

__all__ = ["made_corpus", "short_run"]
