"""Native layouts of the environment data sets: ESC-50, TUT18, Birdsong and AudioSet."""

from __future__ import annotations

import csv
import uuid
from functools import partial

import numpy as np

from hares.synthesis.environments import SCENES as TUT18_SCENES
from hares.synthesis.environments import SOUNDS, bird_recording, scene
from hares.synthesis.music import play
from hares.synthesis.plan import Plan, Recording, scaled, table
from hares.synthesis.signals import (
    Samples,
    at_level,
    gain,
    hex_name,
    keyed,
    length,
    limited,
    microphone,
    placed,
    recorded,
    unit,
)
from hares.synthesis.voices import is_low, speaker, talk
from hares.tasks.audioset import official_labels

ESC50_CLASSES = {
    "dog": 0, "rain": 10, "sea_waves": 11, "crickets": 13, "chirping_birds": 14, "wind": 16, "door_wood_knock": 30,
    "clock_tick": 38, "helicopter": 40, "siren": 42,
}  # fmt: skip
ESC10 = ("dog", "rain", "sea_waves", "clock_tick", "helicopter")
CITIES = ("barcelona", "helsinki", "london", "paris", "stockholm", "vienna")
BIRD_SETS = {
    "ff1010bird": ("ff1010bird_metadata_2018.csv", ("rain", "wind", "footsteps", "cars")),
    "warblrb10k": ("warblrb10k_public_metadata_2018.csv", ("babble", "cars", "wind", "engine")),
    "BirdVox-DCASE-20k": ("BirdVoxDCASE20k_csvpublic.csv", ("crickets", "wind", "rain", "hum")),
}
AUDIOSET_EVENTS: dict[str, tuple[str, ...]] = {
    "low voice": ("Speech", "Male speech, man speaking"),
    "high voice": ("Speech", "Female speech, woman speaking"),
    "piano": ("Music", "Musical instrument", "Piano"),
    "folk": ("Music", "Musical instrument", "Guitar"),
    "dog": ("Animal", "Dog"),
    "chirping_birds": ("Animal", "Bird"),
    "rain": ("Rain",),
    "wind": ("Wind",),
    "siren": ("Siren",),
    "engine": ("Vehicle", "Engine"),
    "clock_tick": ("Clock",),
}
MUSIC_EVENTS = ("piano", "folk")
ESC50_SECONDS, SCENE_SECONDS, AUDIOSET_SECONDS = 5.0, 5.0, 3.0


def esc50(seed: int, scale: float) -> Plan:
    """`audio/{fold}-{source}-{take}-{target}.wav` at 44.1 kHz and `meta/esc50.csv`: ten classes, five folds."""
    rows: list[list[object]] = [["filename", "fold", "target", "category", "esc10", "src_file", "take"]]
    recordings = []
    for category, target in ESC50_CLASSES.items():
        for i in range(5 * scaled(2, scale)):
            fold, source = i % 5 + 1, 100_000 + 1000 * target + i
            file = f"{fold}-{source}-A-{target}.wav"
            rows.append([file, fold, target, category, category in ESC10, source, "A"])
            recordings.append(
                Recording(f"esc50/audio/{file}", partial(_event, seed, category, source), rate=44_100)
            )
    return Plan(tuple(recordings), {"esc50/meta/esc50.csv": table(rows)})


def tut18(seed: int, scale: float) -> Plan:
    """`audio/` in 48 kHz stereo, `meta.csv` and `evaluation_setup/fold1_*.txt`, split by place."""
    recordings: list[Recording] = []
    train, test = scaled(3, scale, 2), scaled(2, scale)
    meta: list[list[object]] = [["filename", "scene_label", "identifier", "source_label"]]
    fold: dict[str, list[list[object]]] = {"train": [], "evaluate": [], "test": []}
    for s, name in enumerate(TUT18_SCENES):
        for i in range(train + test):
            place = f"{CITIES[(s + i) % len(CITIES)]}-{(train + test) * s + i}"
            file = f"audio/{name}-{place}-{len(recordings)}-a.wav"
            meta.append([file, name, place, "a"])
            fold["train" if i < train else "evaluate"].append([file, name])
            if i >= train:
                fold["test"].append([file])
            recordings.append(Recording(f"tut18/{file}", partial(_scene, seed, name, place), rate=48_000))
    files = {f"tut18/evaluation_setup/fold1_{part}.txt": table(rows, "\t") for part, rows in fold.items()}
    return Plan(tuple(recordings), {"tut18/meta.csv": table(meta, "\t"), **files})


def birdsong(seed: int, scale: float) -> Plan:
    """Three data sets, each a folder of `wav/` and a table of `hasbird`, half of them with birds."""
    recordings, files = [], {}
    for name, (index, backdrops) in BIRD_SETS.items():
        rows: list[list[object]] = [["itemid", "datasetid", "hasbird"]]
        for i in range(2 * scaled(10, scale, 3)):
            item, has_bird = _bird_id(seed, name, i), i % 2 == 0
            rows.append([item, name, int(has_bird)])
            render = partial(_field_recording, seed, name, i, backdrops, has_bird)
            recordings.append(Recording(f"birdsong/{name}/wav/{item}.wav", render))
        files[f"birdsong/{index}"] = table(rows)
    return Plan(tuple(recordings), files)


def audioset(seed: int, scale: float) -> Plan:
    """`audio/{balanced_train,eval}/<id>.flac`, the segment lists and the official label index."""
    labels = official_labels()
    mids = {row["display_name"]: row["mid"] for row in csv.DictReader(labels.splitlines())}
    recordings, files = [], {"audioset/class_labels_indices.csv": labels}
    names = list(AUDIOSET_EVENTS)
    for split, clips in (("balanced_train", scaled(60, scale, 22)), ("eval", scaled(40, scale, 11))):
        lines = []
        for i in range(clips):
            rng = keyed(seed, "audioset", split, i)
            other = str(rng.choice(names))
            events = tuple(
                dict.fromkeys((names[i % len(names)], other) if rng.random() < 0.5 else (names[i % 11],))
            )
            present = sorted({mids[label] for event in events for label in AUDIOSET_EVENTS[event]})
            clip = hex_name(11, seed, "audioset", split, i)
            lines.append(f'{clip}, 0.000, {AUDIOSET_SECONDS:.3f}, "{",".join(present)}"\n')
            render = partial(_soundtrack, seed, split, i, events)
            recordings.append(Recording(f"audioset/audio/{split}/{clip}.flac", render))
        head = f"# Segments csv (synthetic)\n# num_ytids={clips}\n# YTID, start_seconds, end_seconds, positive_labels\n"
        files[f"audioset/{split}_segments.csv"] = head + "".join(lines)
    return Plan(tuple(recordings), files)


def _event(seed: int, category: str, source: int) -> Samples:
    rng = keyed(seed, "esc50", category, source)
    n = length(ESC50_SECONDS)
    # The real clips are often shorter events padded to five seconds.
    heard = n if rng.random() < 0.6 else length(rng.uniform(2.0, 4.5))
    return recorded(placed(_sound(category, rng, heard), n, rng), rng, (5.0, 30.0), (-32.0, -18.0))


def _sound(name: str, rng: np.random.Generator, n: int) -> Samples:
    return microphone(SOUNDS[name](rng, n), rng)


def _scene(seed: int, name: str, place: str) -> Samples:
    location, moment = keyed(seed, "tut18", name, place), keyed(seed, "tut18", name, place, "moment")
    stereo = scene(name, location, moment, length(SCENE_SECONDS))
    heard = np.stack([microphone(side, keyed(seed, "tut18", place, "microphone"), 4.0) for side in stereo])
    level = gain(moment.uniform(-32, -20)) / float(np.sqrt(np.mean(heard**2)))
    return limited(heard * level)


def _bird_id(seed: int, name: str, i: int) -> str:
    if name == "ff1010bird":
        return str(10_000 + 137 * i + int(keyed(seed, name, i).integers(0, 137)))
    text = str(uuid.UUID(bytes=keyed(seed, name, i).bytes(16), version=4))
    return text if name.startswith("BirdVox") else text[:23]


def _field_recording(seed: int, name: str, i: int, backdrops: tuple[str, ...], has_bird: bool) -> Samples:
    rng = keyed(seed, "birdsong", name, i)
    n = length(rng.uniform(2.5, 3.5))
    heard = bird_recording(rng, n, str(rng.choice(backdrops)), has_bird)
    return limited(at_level(microphone(heard, rng, 6.0), rng.uniform(-34, -20)))


def _soundtrack(seed: int, split: str, i: int, events: tuple[str, ...]) -> Samples:
    rng = keyed(seed, "audioset", split, i, "sound")
    n = length(AUDIOSET_SECONDS)
    mixed = np.zeros(n)
    for event in events:
        mixed += _source(event, rng, n) * gain(rng.uniform(-5, 0))
    return recorded(microphone(mixed, rng), rng, (10.0, 30.0), (-30.0, -16.0))


def _source(event: str, rng: np.random.Generator, n: int) -> Samples:
    if event in MUSIC_EVENTS:
        return play(event, rng, n / length(1.0))
    if event.endswith("voice"):
        people = (speaker(0, f"someone {rng.integers(1000)}") for _ in range(100))
        person = next(p for p in people if is_low(p) == (event == "low voice"))
        return unit(placed(talk("en", person, float(rng.uniform(1.2, 2.5)), rng)[1], n, rng))
    return unit(SOUNDS[event](rng, n))
