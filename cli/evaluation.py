"""Evaluating an encoder from the command line: pre-flight, a bar with clips a second, then the scores."""

from __future__ import annotations

import dataclasses
import json
import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, Any, Literal

import click
from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
from rich.progress import Task as ProgressTask
from rich.text import Text

from cli.errors import CommandError, ExitCode, claim_folder
from cli.options import parse_corpus
from cli.own_packages import OF_A_RUN, check_ours
from cli.quiet import logging_to
from cli.score_table import layer_table, score_table
from cli.terminal import Terminal, styled

if TYPE_CHECKING:
    from hares.adapters import EncoderOptions, FrozenEncoder
    from hares.evaluation import Evaluation
    from hares.plugin import Plugin
    from hares.preflight import Check

_QUIET_SECONDS = 15.0  # between two lines where there is no terminal to redraw


@dataclass(frozen=True)
class EvaluateRequest:
    """The options of `hares evaluate`, as the command describes them."""

    spec: str
    corpora: tuple[str, ...]
    tasks: tuple[str, ...]
    protocol: str
    seed: int
    sample_rate: int | None
    output_name: str | None
    batch_size: int | None
    embedding_dtype: Literal["float16", "float32"]
    output: Path
    cache_folder: Path | None
    longest_clip: float
    plugins: tuple[Path, ...] = ()
    layers: str | None = None

    @property
    def cache(self) -> Path:
        """Where embeddings are kept."""
        return self.cache_folder or self.output / "cache"


def evaluate_and_show(options: EvaluateRequest, as_json: bool) -> None:
    """Scores an encoder and prints the table, or the report as JSON.

    Raises:
        CommandError: with an exit code for each kind of failure.
    """
    claim_folder(options.output, "--output")
    claim_folder(options.cache, "--cache")
    log = options.output / "logs" / f"evaluate-{time.strftime('%Y%m%d-%H%M%S')}.log"
    with _alone(options.output), logging_to(log) as terminal:
        console = Terminal(quiet=True) if as_json else terminal
        evaluation = _evaluate(options, console, log)
    if as_json:
        click.echo(json.dumps(evaluation.report, indent=1))
    else:
        _show(evaluation, options, log)
    if evaluation.failures:
        lines = "".join(f"\n  {error}" for error in evaluation.failures.values())
        count = f"{len(evaluation.failures)} of {len(evaluation.record['tasks'])}"
        raise CommandError(f"{count} tasks failed; the whole log is in {log}{lines}", ExitCode.STEP)
    entries = {**evaluation.report["tasks"], **evaluation.report["own_tasks"]}
    if all(entry["value"] is None for entry in entries.values()):
        reasons = "; ".join(sorted({entry["reason"] for entry in entries.values()}))
        raise CommandError(f"no task could be scored: {reasons}", ExitCode.DATA)
    if unusable := _unusable(evaluation.report):
        raise CommandError(f"cannot be used, the others are scored: {', '.join(unusable)}", ExitCode.DATA)


def _unusable(report: Mapping[str, Any]) -> list[str]:
    """The tasks of a report of which no clip could be used."""
    from hares.report.runs import all_entries

    found = {name: entry["manifest"] for name, entry in all_entries(report).items() if entry["manifest"]}
    return [name for name, manifest in found.items() if not manifest["present"]]


@contextmanager
def _alone(output: Path) -> Iterator[None]:
    """Keeps other evaluations out of the output folder, where they would overwrite the report."""
    from hares.lock import BusyError, held

    try:
        with held(output / "evaluate.lock"):
            yield
    except BusyError as error:
        raise CommandError(
            f"--output {error}; wait until that evaluation has ended, or give this one another --output",
            ExitCode.BUSY,
        ) from error


def _evaluate(options: EvaluateRequest, console: Terminal, log: Path) -> Evaluation:
    from hares.buckets import BucketError

    try:
        with console.status("loading the encoder"):
            from hares.adapters import EncoderOptions
            from hares.decoding import Limits
            from hares.evaluation import EvaluationSettings, evaluate_tasks, find_sources
            from hares.layers import evaluate_layers
            from hares.protocol import load_protocol
            from hares.user_code import UserCodeError

            plugins = _load_plugins(options.plugins)
            corpus, placements = parse_corpus(options.corpora)
            sources = find_sources(corpus, placements, options.tasks)
            encoder = _load(options, EncoderOptions(options.sample_rate, options.output_name), plugins)
        if len(encoder.outputs) > 1:
            console.print(
                f"the embedding is output {encoder.output} of {', '.join(encoder.outputs)}",
                highlight=False, markup=False, soft_wrap=True,
            )  # fmt: skip
        settings = EvaluationSettings(
            protocol=dataclasses.replace(load_protocol(options.protocol), seed=options.seed),
            batch_size=options.batch_size,
            dtype=options.embedding_dtype,
            limits=Limits(longest=options.longest_clip),
        )
        with _View(console) as view:
            evaluate = evaluate_layers if options.layers else evaluate_tasks
            return evaluate(encoder, sources, settings, options.output, options.cache, view)
    except ValueError as error:
        logging.getLogger(__name__).error("the encoder cannot be scored", exc_info=error)
        more = f". What it printed is in {log}" if isinstance(error, UserCodeError) else ""
        raise CommandError(f"{error}{more}", ExitCode.SETTINGS) from error
    except BucketError:
        raise
    except OSError as error:  # a full disk, a folder one may not write to
        named = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        raise CommandError(f"{named}. The same command goes on where it stopped", ExitCode.STEP) from error


def _load_plugins(files: tuple[Path, ...]) -> tuple[Plugin, ...]:
    from hares.plugin import load_plugin
    from hares.user_code import contained

    plugins = []
    for path in files:
        with contained(f"plugin {path}"):
            plugins.append(load_plugin(path, check_models=_check_models))
    return tuple(plugins)


def _check_models(module: ModuleType, file: Path) -> None:
    """Checks a plugin's encoders and objective, where it has some: a task needs no TensorFlow."""
    from hares.plugin import OF_MODELS

    if any(getattr(module, name, None) is not None for name in OF_MODELS):
        check_ours(*OF_A_RUN)
        from models.plugin import check_models

        check_models(module, file)


def _load(
    options: EvaluateRequest, encoder_options: EncoderOptions, plugins: tuple[Plugin, ...]
) -> FrozenEncoder:
    from hares.adapters import load_adapter
    from hares.user_code import UserCodeError, contained

    if not options.spec.startswith("untrained:"):
        return load_adapter(options.spec, encoder_options)
    check_ours(*OF_A_RUN)
    from pipeline.untrained import load_untrained

    try:
        with contained(f"encoder {options.spec!r}"):
            return load_untrained(options.spec, encoder_options, options.seed, plugins)
    except (ValueError, OSError):
        raise
    except Exception as error:  # whatever a plugin's encoder raises when it is built
        raise UserCodeError(
            f"encoder {options.spec!r}: it cannot be built ({type(error).__name__}: {error})"
        ) from error


class _ClipsPerSecond(ProgressColumn):
    """Clips embedded per second, without those from the cache."""

    def render(self, task: ProgressTask) -> Text:
        return Text(f"{task.fields['rate']:.1f} clips/s" if task.fields["rate"] else "")


class _View:
    """Shows an evaluation: on a terminal a bar, elsewhere a line now and then."""

    def __init__(self, console: Terminal):
        self._console = console
        self._progress = Progress(
            TextColumn("{task.description:<34}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            _ClipsPerSecond(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        self._bar = self._progress.add_task("", total=0, rate=0.0, visible=False)
        self._spoke = time.monotonic()
        self._last = time.monotonic()
        self._embedding_seconds = 0.0
        self._computed = self._done = self._total = 0

    def __enter__(self) -> _View:
        if self._console.is_terminal:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def checked(self, checks: tuple[Check, ...], embedding_size: int, seconds: float) -> None:
        """The encoder passed the pre-flight."""
        names = ", ".join(check.name for check in checks)
        self._console.print(
            f"pre-flight passed in {seconds:.1f} s: {names}; {embedding_size} numbers a crop",
            highlight=False,
            soft_wrap=True,
        )

    def listed(self, clips: int) -> None:
        """The number of clips to embed is known."""
        self._total = clips
        self._progress.update(self._bar, total=clips, visible=True)

    def embedding(self, task: str) -> None:
        """A task's clips are being embedded."""
        self._progress.update(self._bar, description=f"embedding {task}")
        self._last = time.monotonic()

    def clips(self, task: str, count: int, computed: bool) -> None:
        """More clips are done."""
        now = time.monotonic()
        if computed:
            self._computed += count
            self._embedding_seconds += now - self._last
        self._last = now
        self._done += count
        rate = self._computed / self._embedding_seconds if self._embedding_seconds else 0.0
        self._progress.update(self._bar, advance=count, rate=rate)
        if not self._console.is_terminal and now - self._spoke > _QUIET_SECONDS:
            left = (self._total - self._done) / rate if rate else 0.0
            self._console.print(
                f"  {task:<24} {self._done} of {self._total} clips, {rate:.1f} clips/s, about {left:.0f} s left",
                highlight=False,
            )
            self._spoke = now

    def probing(self, task: str) -> None:
        """A probe is being trained."""
        self._progress.update(self._bar, description=f"probing {task}")

    def failed(self, task: str, reason: str) -> None:
        """A task has no score; the next one is tried."""
        self._console.print(f"{task} failed; the other tasks go on", highlight=False)


def _show(evaluation: Evaluation, options: EvaluateRequest, log: Path) -> None:
    console = Terminal()
    report, record = evaluation.report, evaluation.record
    console.print(score_table(report))
    if "layers" in report:
        console.print(layer_table(report))
    partial = report["partial_mean"]
    if report["hares"] is None and partial["hares"] is not None:
        console.print(
            f"{partial['scored_tasks']} of {partial['of_tasks']} tasks are scored, their mean is "
            f"{100 * partial['hares']:.1f}: no HARES score",
            highlight=False,
        )
    for name, entry in {**report["tasks"], **report["own_tasks"]}.items():
        if entry["value"] is None:
            console.print(styled("dim", f"{name}: {entry['reason']}"), soft_wrap=True)
        missing = ", ".join(f"{count} {reason}" for reason, count in entry["missing"].items())
        if missing:
            console.print(styled("dim", f"{name}: not used: {missing}"), soft_wrap=True)
    for what, path in (
        ("report", options.output / "report.html"),
        ("scores", options.output / "report.json"),
        ("record", options.output / "evaluate.json"),
        ("log", log),
    ):
        console.print(f"{what:<7}{path}", highlight=False, soft_wrap=True)
    found, computed = record["cache"]["found"], record["cache"]["computed"]
    console.print(
        f"{computed} shards of embeddings computed, {found} found in {options.cache}; "
        f"{record['seconds']['total']:.0f} s",
        highlight=False,
        soft_wrap=True,
    )
