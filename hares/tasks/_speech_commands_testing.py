"""The test set of Speech Commands' twelve classes, and its silence.

Beside v0.01 and v0.02 there is an archive of the test set alone: ten folders of keywords, `_unknown_`
(`{word}_{speaker}_nohash_{n}.wav.wav`) and `_silence_` (`{n}.wav`), v0.02's with 4,890 clips, of which 8.3% are
unknown and as many silence. TensorFlow Datasets' `speech_commands`, which the paper took, is tested on it.

Without the archive the set is made after the data set's own `input_data.py`, which adds to the keywords a tenth of
their number of unknown words and a tenth of silence. All that testing_list.txt names would be 60% unknown words.

Silence of training is cut from `_background_noise_`. Beside the archive it is TensorFlow Datasets': a cut every half
second, `running_tap.wav` for validation. Without it, no sample may be in two splits: of n whole seconds the last
tenth (at least one) is for test, the tenth before it (at least one, from three seconds up) for validation.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from hares.buckets import Place, on_disk
from hares.decoding import AudioError, seconds
from hares.files import clip_id_of, home_of, leads_outside, name_hash, walk_files
from hares.reading import is_audio
from hares.task import Clip, CorpusIndexError, Reason, Rejected, Split
from hares.tasks import _speech_commands as shared

SILENCE, UNKNOWN = "_silence_", "_unknown_"
CLIPS = {shared.TEST_SETS["v0.01"]: 3_081, shared.TEST_SETS["v0.02"]: 4_890}  # of the archives

_SHARE = 0.1  # unknown words, and silence, to keywords: `unknown_percentage` and `silence_percentage`
_VALIDATION_NOISE = "running_tap.wav"


def test_set(root: Place) -> str:
    """The folder of the test set's own archive, that of the words' version first; "" where there is none."""
    v2 = bool(shared.words_on_disk(root) & set(shared.WORDS_ONLY_IN_V2))
    for version in sorted(shared.TEST_SETS, reverse=v2):
        if (root / shared.TEST_SETS[version]).is_dir():
            return shared.TEST_SETS[version]
    return ""


def archived(task: str, root: Place, folder: str, labels: Mapping[str, int]) -> Iterator[Clip | Rejected]:
    """The clips of the test set's archive, by path.

    Args:
        task: name that opens messages.
        root: the data set's own folder.
        folder: the archive's, below it.
        labels: class ids by the names of its folders.

    Raises:
        CorpusIndexError: one of these folders has no clip.
    """
    found: set[str] = set()
    for path, _ in walk_files(root, folder):
        word, name = path.split("/")[-2:]
        if not is_audio(path):
            continue
        if word not in labels:
            yield Rejected(path, Reason.UNKNOWN_LABEL, f"{folder} has no folder {word!r}", "test")
            continue
        found.add(word)
        speaker = name.partition("_nohash_")[0].rpartition("_")[2] if "_nohash_" in name else ""
        clip_id = clip_id_of(path)
        yield Clip(clip_id, path, (labels[word],), "test", clip_id_of(speaker), length=shared.SECONDS)
    if missing := labels.keys() - found:
        raise CorpusIndexError(
            f"{task}: {folder} has no clips in {', '.join(sorted(missing))}. Unpack {folder}.tar.gz there again, or "
            "remove the folder to make a test set of testing_list.txt."
        )


class InProportion:
    """Which of the clips that testing_list.txt names make a test set in the proportion of `input_data.py`."""

    def __init__(self, keywords: int, unknown: list[str]) -> None:
        """Picks the unknown words by the hash of their names.

        Args:
            keywords: test clips of the ten keywords.
            unknown: paths of the test clips of all other words.
        """
        self.silence = math.ceil(_SHARE * keywords)
        self._unknown = frozenset(sorted(name_hash(path) for path in unknown)[: self.silence])

    def has(self, path: str) -> bool:
        """Whether a clip of an unknown word is in it."""
        return name_hash(path) in self._unknown


@dataclass(frozen=True)
class _Noise:
    """A recording of background noise, and its length in seconds, at least 1."""

    path: str
    length: float

    @property
    def test(self) -> int:
        """Seconds of it that are for test."""
        return max(1, int(self.length) // 10)


def cuts_of_tfds(root: Place, label: int) -> Iterator[Clip | Rejected]:
    """The silence that TensorFlow Datasets trains and validates on: a second of noise every half second."""
    for noise in _recordings(root):
        if isinstance(noise, Rejected):
            yield noise
            continue
        split: Split = "validation" if noise.path.endswith(f"/{_VALIDATION_NOISE}") else "train"
        for half in range(math.ceil(2 * (noise.length - 1))):
            yield _cut(noise.path, half / 2, split, label)


def cuts_in_blocks(root: Place, label: int, wanted: int) -> Iterator[Clip | Rejected]:
    """Silence of all three splits, no sample in two of them; `wanted` cuts for test.

    The test's cuts overlap where there is less noise than they are long, as there is in the data set itself.
    """
    of_test = sum(noise.test for noise in _recordings(root) if isinstance(noise, _Noise))
    seen = given = 0
    for noise in _recordings(root):
        if isinstance(noise, Rejected):
            yield noise
            continue
        first = int(noise.length) - noise.test
        validation = noise.test if noise.length >= 3 else 0
        for second in range(first):
            split: Split = "train" if second < first - validation else "validation"
            yield _cut(noise.path, float(second), split, label)
        seen += noise.test
        here = round(wanted * seen / of_test) - given
        given += here
        apart = (noise.test - 1) / (here - 1) if here > 1 else 0.0
        for start in dict.fromkeys(round(first + number * apart, 3) for number in range(here)):
            yield _cut(noise.path, start, "test", label)


def _recordings(root: Place) -> Iterator[_Noise | Rejected]:
    """The recordings of at least a second."""
    home = home_of(root)
    for path in shared.noise_files(root):
        if leads_outside(home, path):
            yield Rejected(path, Reason.OUTSIDE, "the symbolic link leads out of the data set's folder")
            continue
        try:
            with on_disk(root / path) as file:
                length = seconds(file)
        except AudioError as error:
            yield Rejected(path, error.reason, error.detail)
            continue
        if length >= 1:
            yield _Noise(path, length)


def _cut(path: str, start: float, split: Split, label: int) -> Clip:
    name = f"{clip_id_of(path)}#{start:g}-{start + 1:g}"
    return Clip(name, path, (label,), split, clip_id_of(path), start=start, duration=1.0)
