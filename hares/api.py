"""HARES in one call: `result = hares.evaluate(encoder, "corpora", tasks=["esc50"], protocol="quick")`.

What `hares evaluate` does on the command line, with the same numbers (`hares.evaluation`).
"""

from __future__ import annotations

import dataclasses
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import TYPE_CHECKING, Any, Literal

from hares.adapters import EncoderOptions, FrozenEncoder, hear, load_adapter, python
from hares.buckets import place
from hares.decoding import Limits
from hares.embedding.cache import EmbeddingDtype
from hares.evaluation import Evaluation, EvaluationObserver, EvaluationSettings, evaluate_tasks, find_sources
from hares.layers import evaluate_layers
from hares.lock import held
from hares.plugin import load_plugin
from hares.protocol import ProtocolSettings, load_protocol
from hares.report.runs import all_entries
from hares.user_code import contained

if TYPE_CHECKING:
    import pandas as pd

Encoder = str | FrozenEncoder | ModuleType | Callable[..., Any]


@dataclass(frozen=True)
class TaskResult:
    """What one task gave.

    Attributes:
        task: its name.
        domain: environment, speech or music.
        metric: accuracy or mAP.
        score: a fraction; None where the task was not scored.
        low: lower end of the score's 95% interval; None where there is no interval.
        high: upper end.
        chance: score of the best answer that ignores the clip; for mAP of a random ranking.
        clips: test clips scored.
        reason: why there is no score, "" where there is one.
    """

    task: str
    domain: str
    metric: str
    score: float | None
    low: float | None
    high: float | None
    chance: float | None
    clips: int
    reason: str


@dataclass(frozen=True, repr=False)
class Result:
    """The scores of one encoder; prints as a table.

    Attributes:
        encoder: its name.
        protocol: name of the preset.
        tasks: the tasks of this evaluation, scored or not, by domain; those of plugins last.
        domains: mean score of each domain; None unless all its tasks are scored.
        hares: mean of all twelve scores; None unless all are scored.
        report: everything, as in `report.json` (docs/evaluate.md).
        record: how it was made, as in `evaluate.json`.
        layers: by layer the score of each task, a fraction or None; empty where layers were not asked for.
    """

    encoder: str
    protocol: str
    tasks: tuple[TaskResult, ...]
    domains: Mapping[str, float | None]
    hares: float | None
    report: Mapping[str, Any]
    record: Mapping[str, Any]
    layers: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)

    def __getitem__(self, task: str) -> TaskResult:
        """The result of one task. Raises KeyError for a task that was not part of the evaluation."""
        for result in self.tasks:
            if result.task == task:
                return result
        raise KeyError(f"{task!r} was not evaluated; there are {', '.join(r.task for r in self.tasks)}")

    def __repr__(self) -> str:
        rows = [("task", "metric", "score", "95% interval", "chance", "clips")]
        rows += [
            (
                *(one.task, one.metric, _percent(one.score)),
                "-" if one.low is None else f"{_percent(one.low)} to {_percent(one.high)}",
                *(_percent(one.chance), str(one.clips)),
            )
            for one in self.tasks
        ]
        rows += [(name, "mean", _percent(mean), "", "", "") for name, mean in self.domains.items()]
        rows += [("HARES", "mean", _percent(self.hares), "", "", "")]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join(c.ljust(w) if i < 2 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True)))
            for row in rows
        ]  # fmt: skip
        lines += [f"{one.task}: {one.reason}" for one in self.tasks if one.reason]
        return "\n".join([f"{self.encoder}, protocol {self.protocol}", *(line.rstrip() for line in lines)])

    def to_pandas(self) -> pd.DataFrame:
        """A row for each task, with the fields of `TaskResult` as columns. Needs pandas."""
        import pandas as pd

        return pd.DataFrame([dataclasses.asdict(one) for one in self.tasks]).set_index("task")


def evaluate(
    encoder: Encoder,
    corpus: str | os.PathLike[str] | Mapping[str, str | os.PathLike[str]],
    tasks: Sequence[str] = (),
    protocol: str | ProtocolSettings = "paper",
    *,
    seed: int | None = None,
    sample_rate: int | None = None,
    output_name: str | None = None,
    batch_size: int | None = None,
    layers: Literal["all"] | None = None,
    embedding_dtype: EmbeddingDtype = "float32",
    longest_clip: float = Limits.longest,
    output: str | os.PathLike[str] | None = None,
    cache: str | os.PathLike[str] | None = None,
    plugins: Sequence[str | os.PathLike[str]] = (),
    observer: EvaluationObserver | None = None,
) -> Result:
    """Scores a frozen encoder: checks it, embeds every clip once, trains the probes.

    Args:
        encoder: one of
            a SPEC as on the command line, such as "saved_model:DIR" or "hear:MODULE:WEIGHTS";
            a module with the HEAR 2021 interface;
            any callable from float32 waveforms (b, n) in [-1, 1] to embeddings (b, d). It gets numpy arrays; a
            `torch.nn.Module` is put into eval mode and gets tensors on its device, without gradients.
        corpus: folder with one folder a data set; or the folder of each data set, by its name. On a disk, or an address
            in a bucket (s3://, gs://).
        tasks: names of the tasks, those of `plugins` among them; empty for all whose data set is found.
        protocol: "paper", "quick", or settings of your own.
        seed: of crops and probes; None for that of the protocol.
        sample_rate: of the encoder's input in Hz; None for its attribute `sample_rate`, else 16,000.
        output_name: which output is the embedding, where an encoder has several.
        batch_size: crops at once, halved where memory does not hold them; None for 32, or 256 on a GPU.
        layers: "all" to score every layer of a `transformers:` encoder, from one pass over the audio.
        embedding_dtype: what embeddings are kept in, "float32" or "float16".
        longest_clip: seconds; a file that claims more sound is rejected.
        output: folder for the report; None to write none.
        cache: folder of embeddings that later evaluations find again; None for a folder in `output`.
        plugins: files with a task of your own each (docs/extending.md); they are executed.
        observer: hears of the progress; None for silence.

    Returns:
        The scores. A task at which the encoder or the probe failed has none, and a `reason`.

    Raises:
        ValueError: an argument is wrong, or the encoder cannot be scored (`hares.preflight`); no data was read.
        BusyError: another evaluation writes to `output`.
        OSError: the machine's fault, such as a full disk.
    """
    for path in plugins:
        with contained(f"plugin {path}"):
            load_plugin(Path(path))
    wanted = (tasks,) if isinstance(tasks, str) else tuple(tasks)
    placements = {name: place(where) for name, where in corpus.items()} if isinstance(corpus, Mapping) else {}
    sources = find_sources(None if isinstance(corpus, Mapping) else place(corpus), placements, wanted)
    settings = load_protocol(protocol) if isinstance(protocol, str) else protocol
    if seed is not None:
        settings = dataclasses.replace(settings, seed=seed)
    checked = EvaluationSettings(
        protocol=settings, batch_size=batch_size, dtype=embedding_dtype, limits=Limits(longest=longest_clip)
    )
    frozen = _frozen(encoder, EncoderOptions(sample_rate, output_name))
    with ExitStack() as stack:
        if output is None:
            output = stack.enter_context(tempfile.TemporaryDirectory(prefix="hares-"))
        folder = Path(output)
        stack.enter_context(held(folder / "evaluate.lock"))
        evaluation = (evaluate_layers if layers else evaluate_tasks)(
            frozen, sources, checked, folder, Path(cache or folder / "cache"), observer or _Silent()
        )
    return _result(evaluation)


class _Silent:
    """An observer that says nothing."""

    def _nothing(self, *_: Any, **__: Any) -> None: ...

    checked = listed = embedding = clips = probing = failed = _nothing


def _frozen(encoder: Encoder, options: EncoderOptions) -> FrozenEncoder:
    if isinstance(encoder, FrozenEncoder):
        if options != EncoderOptions():
            raise ValueError(
                "encoder: it is loaded already; give sample_rate and output_name when loading it"
            )
        return encoder
    if isinstance(encoder, str):
        return load_adapter(encoder, options)
    if isinstance(encoder, ModuleType):
        return hear.from_module(encoder, "", options)
    return python.from_callable(encoder, options)


def _result(evaluation: Evaluation) -> Result:
    report = evaluation.report
    entries = all_entries(report)
    by_domain = [
        name
        for own in (False, True)
        for domain in report["domains"]
        for name in evaluation.record["tasks"]
        if entries[name]["domain"] == domain and (name in report["own_tasks"]) is own
    ]
    results = tuple(_task_result(name, entries[name]) for name in by_domain)
    return Result(
        encoder=report["encoder"]["name"],
        protocol=report["protocol"]["name"],
        tasks=results,
        domains=MappingProxyType(report["domains"]),
        hares=report["hares"],
        report=MappingProxyType(report),
        record=MappingProxyType(evaluation.record),
        layers={
            row["layer"]: {one.task: row["tasks"][one.task] for one in results}
            for row in report.get("layers", ())
        },
    )


def _task_result(name: str, entry: Mapping[str, Any]) -> TaskResult:
    low, high = entry["interval"] or (None, None)
    return TaskResult(
        task=name,
        domain=entry["domain"],
        metric=entry["metric"],
        score=entry["value"],
        low=low,
        high=high,
        chance=entry["chance"],
        clips=entry["clips"],
        reason=entry["reason"],
    )


def _percent(fraction: float | None) -> str:
    return "-" if fraction is None else f"{100 * fraction:.1f}"
