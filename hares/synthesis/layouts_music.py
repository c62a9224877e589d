"""Native layouts of the music data sets: NSynth (both tasks) and MagnaTagATune."""

from __future__ import annotations

import csv
import json
from functools import partial

from hares.synthesis.instruments import FAMILIES, instrument, midi_hz, note
from hares.synthesis.music import STYLES, play
from hares.synthesis.plan import Plan, Recording, scaled, table
from hares.synthesis.signals import Samples, hex_name, keyed, length, placed, recorded

PITCHES = (45, 48, 50, 52, 55, 57, 60, 62, 64, 67, 69, 72)
VELOCITIES = (25, 50, 75, 100, 127)
SOURCES = ("acoustic", "electronic", "synthetic")
NOTE_SECONDS, PIECE_SECONDS = 4.0, 10.0
TAGS = (
    "guitar", "classical", "slow", "techno", "strings", "drums", "electronic", "rock", "fast", "piano", "ambient",
    "beat", "violin", "vocal", "synth", "female", "indian", "opera", "male", "singing", "vocals", "no vocals",
    "harpsichord", "loud", "quiet", "flute", "woman", "male vocal", "no vocal", "pop", "soft", "sitar", "solo", "man",
    "classic", "choir", "voice", "new age", "dance", "male voice", "female vocal", "beats", "harp", "cello",
    "no voice", "weird", "country", "metal", "female voice", "choral", "eastern",
)  # fmt: skip


def nsynth(seed: int, scale: float) -> Plan:
    """`nsynth-{train,valid,test}/` with `audio/` and `examples.json`; no instrument is in two of them.

    Eleven families, twelve pitches; each pitch is in train and in test.
    """
    recordings, files = [], {}
    splits = {"train": (0, 2, scaled(3, scale, 3)), "valid": (2, 1, 1), "test": (3, 1, scaled(3, scale, 2))}
    for s, (split, (first, instruments, notes)) in enumerate(splits.items()):
        examples: dict[str, dict[str, object]] = {}
        for f, family in enumerate(FAMILIES):
            for number in range(first, first + instruments):
                source = 2 if family == "synth_lead" else (f + number) % 2
                name = f"{family}_{SOURCES[source]}_{number:03}"
                for j in range(notes):
                    pitch = PITCHES[(f + 4 * j + 2 * number + j // 3) % len(PITCHES)]
                    velocity = int(keyed(seed, "nsynth", name, j).choice(VELOCITIES))
                    clip = f"{name}-{pitch:03}-{velocity:03}"
                    examples[clip] = {
                        "note": 100_000 * s + len(examples), "note_str": clip, "instrument": 4 * f + number,
                        "instrument_str": name, "pitch": pitch, "velocity": velocity, "sample_rate": 16000,
                        "qualities": [0] * 10, "qualities_str": [], "instrument_family": f,
                        "instrument_family_str": family, "instrument_source": source,
                        "instrument_source_str": SOURCES[source],
                    }  # fmt: skip
                    render = partial(_note, seed, family, name, pitch, velocity)
                    recordings.append(Recording(f"nsynth/nsynth-{split}/audio/{clip}.wav", render))
        files[f"nsynth/nsynth-{split}/examples.json"] = json.dumps(examples, indent=1, sort_keys=True)
    return Plan(tuple(recordings), files)


def magnatagatune(seed: int, scale: float) -> Plan:
    """Sixteen folders of ten-second MP3s, `annotations_final.csv` and `clip_info_final.csv`.

    Every style has pieces in the training folders (0 to b) and in the test folders (d to f).
    """
    folders = "0123456789ab"
    wanted: list[tuple[str, str]] = []
    for i, style in enumerate(STYLES):
        wanted += [(folders[(i + 5 * k) % 12], style) for k in range(scaled(2, scale))]
        wanted += [("c", style)] if i % 3 == 0 else []
        wanted += [("def"[(i + k) % 3], style) for k in range(scaled(1, scale))]
    recordings = []
    annotations: list[list[object]] = [["clip_id", *TAGS, "mp3_path"]]
    info: list[list[object]] = [
        [
            "clip_id",
            "track_number",
            "title",
            "artist",
            "album",
            "url",
            "segmentStart",
            "segmentEnd",
            "mp3_path",
        ]
    ]
    for clip, (folder, style) in enumerate(wanted, start=2):
        title = hex_name(8, seed, "magnatagatune", style, clip)
        path = f"{folder}/{title}-0-{PIECE_SECONDS:.0f}.mp3"
        tags = _heard_tags(seed, style, clip)
        annotations.append([clip, *(int(tag in tags) for tag in TAGS), path])
        info.append([clip, clip, title, "synthesis", "demo", "-", 0, f"{PIECE_SECONDS:.0f}", path])
        recordings.append(Recording(f"magnatagatune/{path}", partial(_piece, seed, style, clip)))
    quoted = partial(table, delimiter="\t", quoting=csv.QUOTE_ALL)
    files = {
        "magnatagatune/annotations_final.csv": quoted(annotations),
        "magnatagatune/clip_info_final.csv": quoted(info),
    }
    return Plan(tuple(recordings), files)


def _heard_tags(seed: int, style: str, clip: int) -> set[str]:
    """A style's tags, of which listeners leave out one in ten (never the first)."""
    tags = STYLES[style].tags.split(",")
    keep = keyed(seed, "tags", clip).random(len(tags)) >= 0.1
    return {tag for i, tag in enumerate(tags) if i == 0 or keep[i]}


def _note(seed: int, family: str, name: str, pitch: int, velocity: int) -> Samples:
    rng = keyed(seed, "nsynth", name, pitch, velocity)
    loudness = velocity / 127
    tone = note(instrument(family, seed, name), midi_hz(pitch), float(rng.uniform(3.4, 4.0)), rng, loudness)
    return recorded(placed(tone, length(NOTE_SECONDS), rng), rng, (25.0, 45.0), (-26.0, -16.0))


def _piece(seed: int, style: str, clip: int) -> Samples:
    rng = keyed(seed, "magnatagatune", style, clip)
    return recorded(play(style, rng, PIECE_SECONDS), rng, (20.0, 40.0), (-26.0, -16.0))
