"""mteb, whose audio part is MAEB: an encoder of any SPEC as a model of mteb's, the twelve tasks as tasks of mteb's.

    import mteb
    from hares.exchange.mteb import model_of, tasks_of

    mteb.evaluate(model_of("saved_model:W/pushed/1"), mteb.get_tasks(["ESC50", "GTZANGenre"]))
    mteb.evaluate(mteb.get_model("..."), tasks_of("corpora", ["esc50", "voxforge"]))

A task of ours keeps its clips, labels and split in mteb: ESC-50's five folds are subsets of their own, where mteb's own
ESC-50 is shuffled. What is measured there is mteb's: a logistic regression on 8 clips of each class, a nearest
neighbour for several labels, each of whole clips. Those scores are not HARES'. Fluent Speech Commands' three slots are
one class, the intent.

Shapes: `n` samples.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import soxr
from mteb.abstasks.classification import AbsTaskClassification
from mteb.abstasks.multilabel_classification import AbsTaskMultilabelClassification
from mteb.abstasks.task_metadata import TaskMetadata
from mteb.models import ModelMeta
from mteb.models.abs_encoder import AbsEncoder

from hares.adapters import EncoderOptions, FrozenEncoder, encode_crops, load_adapter
from hares.decoding import AudioError, decode
from hares.embedding.task_embedder import TaskSource
from hares.evaluation import find_sources
from hares.ingest import Entry, list_entries
from hares.reading import source_fingerprint
from hares.task import SAMPLE_RATE, Split, load_task_module

_LANGUAGE = "zxx-Zxxx"  # no language
_FEATURES = {"array": datasets.Sequence(datasets.Value("float32")), "sampling_rate": datasets.Value("int64")}


class HaresEncoder(AbsEncoder):
    """An encoder of ours with mteb's interface; `model_of` makes it."""

    def __init__(
        self, model_name: str, revision: str | None = None, device: str | None = None, **_: Any
    ) -> None:
        """`model_name` is that of the meta, which `model_of` has put here with the encoder."""
        self.model: FrozenEncoder
        self.model_name, self.revision, self.device = model_name, revision, device

    def encode(self, inputs: Any, **_: Any) -> np.ndarray:
        """Embeddings (clips, d) of the clips that a DataLoader gives, each whole."""
        inputs.collate_fn = list
        encode = encode_crops(self.model)
        found = [encode(_waveform(row["audio"])[np.newaxis])[0] for rows in inputs for row in rows]
        return np.stack(found)


def model_of(spec: str | FrozenEncoder, options: EncoderOptions | None = None) -> HaresEncoder:
    """The encoder of a SPEC (`hares evaluate --help` lists the kinds), for `mteb.evaluate`.

    Raises:
        ValueError: as `hares.adapters.load_adapter`.
    """
    frozen = load_adapter(spec, options) if isinstance(spec, str) else spec
    name = f"hares/{''.join(letter if letter.isalnum() else '-' for letter in frozen.name)}"
    model = HaresEncoder(name, frozen.digest[:40])
    model.model = frozen
    model.mteb_model_meta = ModelMeta(
        loader=partial(_reloaded, model), name=name, revision=frozen.digest[:40], release_date=None, languages=None,
        n_parameters=None, memory_usage_mb=None, max_tokens=None, embed_dim=None, license=None, open_weights=None,
        public_training_code=None, public_training_data=None, framework=[], similarity_fn_name="cosine",
        use_instructions=False, training_datasets=None, modalities=["audio"],
    )  # fmt: skip
    return model


def _reloaded(model: HaresEncoder, *_: Any, **__: Any) -> HaresEncoder:
    return model


def _waveform(audio: Mapping[str, Any]) -> np.ndarray:
    """(n,) float32 at 16 kHz of what mteb holds of a clip: samples or channels first, at any rate."""
    samples = np.asarray(audio["array"], np.float32)
    mono = samples.mean(axis=int(np.argmin(samples.shape))) if samples.ndim == 2 else samples
    rate = int(audio["sampling_rate"])
    return mono if rate == SAMPLE_RATE else np.asarray(soxr.resample(mono, rate, SAMPLE_RATE, quality="HQ"))


def tasks_of(
    corpus: str | Path | Mapping[str, str | Path], tasks: Sequence[str] = ()
) -> list[AbsTaskClassification]:
    """Tasks of HARES as mteb's, for `mteb.evaluate`; no audio is read yet.

    Args:
        corpus: folder with one folder a data set; or the folder of each data set, by its name.
        tasks: names of the tasks; empty for all whose data set is found.

    Raises:
        ValueError: as `hares.evaluation.find_sources`.
    """
    placements = {name: Path(place) for name, place in corpus.items()} if isinstance(corpus, Mapping) else {}
    folder = None if isinstance(corpus, Mapping) else Path(corpus)
    return [_task(source) for source in find_sources(folder, placements, tuple(tasks))]


def _task(source: TaskSource) -> AbsTaskClassification:
    task, multi = source.task, source.task.label_kind == "multi"
    base: Any = AbsTaskMultilabelClassification if multi else AbsTaskClassification
    metadata = TaskMetadata(
        name="Hares" + "".join(part.capitalize() for part in task.name.split("_")),
        description=f"{task.title}, with the split of HARES (Wang et al., 2022).",
        reference=task.url or None,
        dataset={"path": f"hares/{task.dataset}", "revision": source_fingerprint(source.root)},
        type="AudioMultilabelClassification" if multi else "AudioClassification",
        category="a2c",
        modalities=["audio"],
        eval_splits=["test"],
        eval_langs={fold: [_LANGUAGE] for fold in task.folds} if task.folds else [_LANGUAGE],
        main_score="lrap" if multi else "accuracy",
        bibtex_citation="",
    )

    def load_data(self: Any, num_proc: int | None = None, **_: Any) -> None:
        if self.data_loaded:
            return
        splits = _read(source)
        if task.folds:
            self.dataset = {fold: _fold(splits, fold) for fold in task.folds}
        else:
            self.dataset = datasets.DatasetDict(splits)
        self.data_loaded = True

    members = {
        "metadata": metadata, "input_column_name": "audio", "label_column_name": "label", "load_data": load_data,
        "__module__": __name__,
    }  # fmt: skip
    made: AbsTaskClassification = type(metadata.name, (base,), members)()
    return made


def _read(source: TaskSource) -> dict[str, datasets.Dataset]:
    """The clips of each split that the paper uses, decoded to 16 kHz."""
    multi = source.task.label_kind == "multi"
    label = datasets.Sequence(datasets.Value("int64")) if multi else datasets.Value("int64")
    features = datasets.Features({"audio": _FEATURES, "label": label})
    readers = {source.task.name: str(source.root)}
    found: dict[str, datasets.Dataset] = {}
    for split in source.task.splits:
        rows = partial(_rows, source, readers, split, multi)
        made = datasets.Dataset.from_list(list(rows()), features=features)
        found[split] = made.with_format("numpy")
    return found


def _rows(source: TaskSource, readers: dict[str, str], split: Split, multi: bool) -> Iterator[dict[str, Any]]:
    sizes = [len(slot.classes) for slot in load_task_module(source.task.name).index(source.root).slots]
    for entry in list_entries(readers, [split]):
        if not isinstance(entry, Entry):
            continue
        try:
            waveform = _decoded(source, entry)
        except AudioError:
            continue
        labels = entry.clip.labels
        whole = int(np.ravel_multi_index(labels, sizes)) if len(sizes) > 1 else None
        yield {
            "audio": {"array": waveform.astype(np.float32) / 32768, "sampling_rate": SAMPLE_RATE},
            "label": list(labels) if multi else labels[0] if whole is None else whole,
        }


def _decoded(source: TaskSource, entry: Entry) -> np.ndarray:
    clip = entry.clip
    if entry.waveform is not None:
        return entry.waveform
    return decode(source.root / clip.path, clip.start, clip.duration)


def _fold(splits: Mapping[str, datasets.Dataset], tested: str) -> datasets.DatasetDict:
    rest = datasets.concatenate_datasets([rows for fold, rows in splits.items() if fold != tested])
    return datasets.DatasetDict({"train": rest.with_format("numpy"), "test": splits[tested]})
