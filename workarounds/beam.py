"""Apache Beam, tried on 2.74."""

from __future__ import annotations

import argparse

from apache_beam.options.pipeline_options import PipelineOptions


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds every option that Beam knows to a parser.

    Unnecessary when Beam reports unknown flags itself; `PipelineOptions` silently drops them.
    """
    for options in PipelineOptions.__subclasses__():
        options._add_argparse_args(parser)


def flags_of(parser: argparse.ArgumentParser) -> list[str]:
    """The flags that a parser knows. Unnecessary when argparse (Python 3.10) lists them."""
    return [flag for action in parser._actions for flag in action.option_strings]
