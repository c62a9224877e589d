"""The demonstration corpus: small, synthetic, in the native layouts of the eleven data sets."""

from hares.synthesis.corpus import make_corpus

__all__ = ["make_corpus"]
