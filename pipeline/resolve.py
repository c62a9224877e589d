"""Resolves what a run is given before it starts: folders, spans, fingerprints, digests, baseline.

`create_pipeline` takes the result and knows no runner. Nothing is left for a TFX resolver, because clusters execute
none. No audio is read, so an error here costs seconds.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from hares import folder, reading, tfds_source
from hares.buckets import Place, is_address, own, place
from hares.code_digest import code_digest, locked_versions
from hares.corpus import dataset_root
from hares.decoding import decoder_versions
from hares.files import is_folder
from hares.folder import FOLDER
from hares.machine import is_closed, is_of_the_machine
from hares.task import Clip, CorpusIndexError, Task, load_task, load_task_module, task_names
from models.encoder import encoder_module_name, load_encoder
from models.loaded_plugins import PREFIX
from models.objective import load_objective, objective_module_name
from models.warm_start import WarmStart
from pipeline.config import AUTO, TRAIN_SPLITS, PipelineConfig
from pipeline.lineage.connection import StoreAddress, store_address
from pipeline.plugin import load_plugin
from pipeline.settings import SettingError, as_dict
from pipeline.warm_start import resolve_warm_start
from pipeline.workspace import Workspace

PRETRAIN_FOLDER = "pretrain"
SPLITS = ("train", "validation", "test")
_INGESTION = "components.audio_example_gen.executor"


@dataclass(frozen=True)
class Source:
    """An ingestion: readers and folders, output splits, and the digest of what is in the folders."""

    readers: Mapping[str, str]
    splits: tuple[str, ...]
    fingerprint: str
    span: int | None = None


@dataclass(frozen=True)
class ResolvedRun:
    """Everything `create_pipeline` needs.

    Attributes:
        config: the settings.
        workspace: folder that holds the pipeline root, the store, checkpoints and pushed models.
        tasks: task name to its ingestion.
        pretraining: the pretraining corpus' ingestion.
        input_kind: what the encoder takes, "log_mel" or "waveform".
        num_classes: classes of the pretraining labels; 0 without labels.
        label_task: the task whose labels these are, or "".
        code: digest of what decides the numbers of each step, and of the "checkpoints" of the Trainer.
        decoders: what decodes audio files here, by version; empty where the steps run in the container image.
        baseline: report.json of the latest blessed model of another run key, or "".
        older_spans: of a window of spans, those before `pretraining`, newest first.
        warm_start: whose encoder training starts from; None for fresh weights.
    """

    config: PipelineConfig
    workspace: Path
    tasks: Mapping[str, Source]
    pretraining: Source
    input_kind: str
    num_classes: int
    label_task: str
    code: Mapping[str, str]
    decoders: Mapping[str, str]
    baseline: str = ""
    older_spans: tuple[Source, ...] = ()
    warm_start: WarmStart | None = None

    @property
    def run_key(self) -> str:
        """Digest of settings, data and code: two runs with one key make the same numbers.

        The content of data, plugins and weights counts, not their paths.
        """
        config = as_dict(self.config)
        config["plugins"] = [digest for _, digest in self.config.plugins]
        config["pretraining"] = {
            **config["pretraining"],
            "source": sorted(self.pretraining.readers),
            "warm_start": "",
        }
        content = {
            "config": config,
            "data": [
                *(source.fingerprint for source in (self.pretraining, *self.older_spans)),
                *(s.fingerprint for _, s in sorted(self.tasks.items())),
            ],
            "warm_start": self.warm_start.digest if self.warm_start else "",
            "code": dict(self.code),
            "decoders": dict(self.decoders),
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def resolve(
    config: PipelineConfig,
    corpus: Place | None,
    placements: Mapping[str, Place],
    workspace: Path,
    address: StoreAddress | None = None,
    in_image: bool = False,
) -> ResolvedRun:
    """Finds the data of a run and checks that the run can work.

    Args:
        config: the settings.
        corpus: folder with one folder for each data set, or None if `placements` has them all.
        placements: data set name to its folder, if that is elsewhere.
        workspace: where the run lives.
        address: the metadata store, for the model to start from; None for the workspace's own.
        in_image: whether the steps run in the container image. Libraries then count by the lock file's versions, which
            the image installs, not by this machine's. The image's decoders are not known here; a cluster's cache has
            the image in its keys.

    Raises:
        SettingError: a missing folder, an unknown encoder or objective, a task whose index is sound but has too few
            classes to train or test on, or starting weights that do not fit the encoder; or with `in_image` no lock
            file.
        StoreUnreachableError: the store's server does not answer or refuses us.
    """
    try:
        for path, digest in config.plugins:
            load_plugin(path, digest)
    except ValueError as error:
        raise SettingError(f"plugins: {error}") from error
    try:
        record = load_encoder(config.training.encoder)
        objective = load_objective(config.training.objective)
    except ValueError as error:
        raise SettingError(f"training.encoder and training.objective: {error}") from error
    if not objective.trains(record):
        raise SettingError(
            f"training.objective: got {objective.name!r}, which takes {objective.takes}; accepted with "
            f"training.encoder={record.name} is one that takes {record.input_kind}"
        )
    if corpus is not None and not corpus.is_dir():
        raise SettingError(
            f"--corpus: got {str(corpus)!r}, which is not a folder; give one with a folder for each data set"
        )
    tasks = {name: _task_source(load_task(name), corpus, placements) for name in config.tasks}
    pretraining, num_classes = _pretraining_source(config, corpus, placements, tasks)
    return ResolvedRun(
        config=config,
        workspace=workspace,
        tasks=tasks,
        pretraining=pretraining,
        input_kind=record.input_kind,
        num_classes=num_classes,
        label_task=next(iter(pretraining.readers)) if num_classes else "",
        code=_code_digests(config, pretraining.readers, _locked_versions() if in_image else None),
        decoders={} if in_image else decoder_versions(),
        older_spans=_older_spans(config, pretraining),
        warm_start=resolve_warm_start(
            config.pretraining.warm_start,
            record,
            config.frontend,
            config.name,
            Workspace(workspace),
            address or store_address("", Workspace(workspace).store),
        ),
    )


def _task_source(task: Task, corpus: Place | None, placements: Mapping[str, Place]) -> Source:
    root = _root(task, corpus, placements)
    if tfds_source.data_dir_of(str(root)) is None:
        _require_classes(task, root)
    splits = task.folds or SPLITS
    return Source({task.name: str(root)}, splits, _fingerprint(task.name, root))


def _fingerprint(reader: str, root: Place) -> str:
    data_dir = tfds_source.data_dir_of(str(root))
    return reading.source_fingerprint(
        root if data_dir is None else tfds_source.prepared_folder(reader, data_dir)
    )


def _root(task: Task, corpus: Place | None, placements: Mapping[str, Place]) -> Place:
    """A task's folder, or `tfds:` and the folder of TensorFlow Datasets."""
    try:
        root = dataset_root(corpus, task, placements)
        data_dir = tfds_source.data_dir_of(str(root))
        if data_dir is not None:
            tfds_source.prepared_folder(task.name, data_dir)
            return Path(f"{tfds_source.PREFIX}{data_dir.resolve()}")
    except ValueError as error:
        raise SettingError(f"tasks: {error}") from error
    if not is_folder(root):  # False, and no error, where a folder above may not be read
        raise SettingError(
            f"tasks: got {task.name}, but there is no folder {root}; accepted are tasks whose data set exists. "
            f"Place it with --corpus {task.dataset}=DIR, or leave the task out with --set tasks=[...]"
        )
    return root.resolve()


def _require_classes(task: Task, root: Place) -> None:
    """A task needs two classes to train on and a clip to test on.

    A broken index is bad data, not a wrong setting: the run counts and reports it.
    """
    try:
        module = load_task_module(task.name)
        module.index(root)
        train: set[tuple[int, ...]] = set()
        tested = False
        for item in module.read(root):
            if isinstance(item, Clip):
                if item.split != "test" and len(train) < 2:
                    train.add(item.labels)
                tested |= item.split not in ("train", "validation")
            if tested and len(train) >= 2:
                return
    except CorpusIndexError:
        return
    except OSError as error:
        if is_of_the_machine(error) and not is_closed(error):
            raise
        return
    raise SettingError(
        f"tasks: {task.name} cannot be scored on {root}: its index lists {len(train)} kind(s) of label to "
        f"train on{'' if tested else ' and no clip to test on'}; accepted are two or more, and at least one test "
        f"clip. Complete the data set, or leave the task out with --set tasks=[...]"
    )


def _pretraining_source(
    config: PipelineConfig,
    corpus: Place | None,
    placements: Mapping[str, Place],
    tasks: Mapping[str, Source],
) -> tuple[Source, int]:
    """The pretraining corpus and the number of its classes."""
    source, span = config.pretraining.source, None
    if source == AUTO:
        beside = own(corpus / PRETRAIN_FOLDER) if corpus else None
        source = str(beside) if beside and beside.is_dir() else TRAIN_SPLITS
    num_classes = 0
    readers: dict[str, Place]
    if source == TRAIN_SPLITS:
        readers = _one_reader_a_dataset(tasks)
    elif _is_task(source):
        task = load_task(source)
        readers = {source: _root(task, corpus, placements)}
        num_classes = len(task.slots[0].classes) if task.label_kind == "multi" else 0
    else:
        # A folder beside the tasks', as LibriSpeech.
        if corpus is not None and not is_address(source) and own(corpus / source).is_dir():
            source = str(corpus / source)
        try:
            path, number = folder.resolve_span(source, config.pretraining.span)
        except ValueError as error:
            raise SettingError(
                f"pretraining.source: {error}. Accepted are a folder of audio files, a pattern with {{SPAN}}, a "
                f"task's name, {TRAIN_SPLITS!r} and {AUTO!r}"
            ) from error
        span = number if "{SPAN}" in source else None
        readers = {FOLDER: path.resolve()}
    if config.training.objective == "classification" and not num_classes:
        raise SettingError(
            f"training.objective: got 'classification', but pretraining.source {config.pretraining.source!r} "
            "has no multi-label classes; accepted with it is pretraining.source=audioset"
        )
    digests = [_fingerprint(reader, root) for reader, root in sorted(readers.items())]
    fingerprint = digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()
    named = {reader: str(root) for reader, root in readers.items()}
    return Source(named, ("train",), fingerprint, span), num_classes


def _older_spans(config: PipelineConfig, newest: Source) -> tuple[Source, ...]:
    """The other spans of a window. Each is a separate ingestion, so that it comes from the cache next time."""
    window = config.pretraining.window
    if window == 1:
        return ()
    if newest.span is None:
        raise SettingError(
            f"pretraining.window: got {window}, but pretraining.source {config.pretraining.source!r} is no pattern; "
            "accepted with it is 1, or a source with {SPAN} in it"
        )
    found = folder.resolve_window(config.pretraining.source, newest.span, window)[1:]
    return tuple(
        Source({FOLDER: str(path.resolve())}, ("train",), _fingerprint(FOLDER, path.resolve()), number)
        for path, number in found
    )


def _one_reader_a_dataset(tasks: Mapping[str, Source]) -> dict[str, Place]:
    """Readers that have a training split; a folder that two tasks share is read once."""
    readers: dict[str, Place] = {}
    for name, source in sorted(tasks.items()):
        ((_, root),) = source.readers.items()
        if "train" in source.splits and place(root) not in readers.values():
            readers[name] = place(root)
    if not readers:
        raise SettingError(
            "pretraining.source: got 'train_splits', but no task of the run has a training split"
        )
    return readers


def _is_task(name: str) -> bool:
    try:
        load_task(name)
    except ValueError:
        return False
    return True


def _locked_versions() -> dict[str, str]:
    try:
        return locked_versions()
    except (FileNotFoundError, LookupError) as error:
        raise SettingError(str(error)) from error


def _code_digests(
    config: PipelineConfig, pretraining_readers: Iterable[str], pins: Mapping[str, str] | None
) -> dict[str, str]:
    """Digest of what decides the numbers of each step."""
    plugins = [(Path(path), digest) for path, digest in config.plugins]
    return {
        step: code_digest(*modules, plugins=plugins if step in ("trainer", "checkpoints") else (), pins=pins)
        for step, modules in entry_modules(config, pretraining_readers).items()
    }


def entry_modules(config: PipelineConfig, pretraining_readers: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Where each step's code digest starts: its executor, and the modules that it finds by name.

    Args:
        config: the settings.
        pretraining_readers: names of the readers of the pretraining corpus.

    Returns:
        Modules by step. "checkpoints" is the part of the Trainer that decides weights, without what exports a model.
    """
    found = (
        encoder_module_name(config.training.encoder),
        objective_module_name(config.training.objective),
    )
    own = tuple(name for name in found if not name.startswith(PREFIX))
    workarounds = ("workarounds.tfx_bsl", "workarounds.tfx_transform")
    records = ("pipeline.preprocessing", *workarounds, "tensorflow_transform")
    # A report lists every task of the benchmark, scored or not.
    probes = sorted({f"hares.probes.{load_task(name).probe}" for name in config.tasks})
    return {
        **{f"ingest_{name}": (_INGESTION, _task_module(name)) for name in config.tasks},
        "ingest_pretraining": (
            _INGESTION,
            *sorted("hares.packed" if name == FOLDER else _task_module(name) for name in pretraining_readers),
        ),
        "span_window": ("components.span_window.executor",),
        "transform": records,
        "trainer": ("pipeline.pretraining", *own),
        "checkpoints": ("models.training.loop", *records, *own),
        **{f"embed_{name}": ("components.embedder.executor", _task_module(name)) for name in config.tasks},
        "evaluator": (
            "components.evaluator.executor",
            *(_task_module(name) for name in task_names()),
            *probes,
        ),
    }


def _task_module(name: str) -> str:
    return f"hares.tasks.{name}"
