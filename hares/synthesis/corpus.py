"""`make_corpus`: the whole demonstration corpus, from nothing but a seed.

Eleven data sets in their native layouts plus `pretrain/`. The sounds are synthetic: scores on them say
that the chain works and that an encoder learns, nothing about the paper's data sets. The same seed and
scale give byte-identical files (with the same versions of NumPy, SciPy and libsndfile).

Deviations from the real data sets: a subset of each one's classes, clips of 5 s (TUT18), 10 s
(MagnaTagATune) and 3 s (AudioSet, Birdsong) where the real ones last 10 s or 29 s, so that a laptop gets
through them in minutes.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

from hares.synthesis.layouts_environment import audioset, birdsong, esc50, tut18
from hares.synthesis.layouts_music import magnatagatune, nsynth
from hares.synthesis.layouts_speech import fluent_speech_commands, speech_commands, voxceleb1, voxforge
from hares.synthesis.plan import Plan, write_recording
from hares.synthesis.pretraining import pretraining

Progress = Callable[[str, int, int], None]

LAYOUTS: dict[str, Callable[[int, float], Plan]] = {
    "audioset": audioset,
    "birdsong": birdsong,
    "tut18": tut18,
    "esc50": esc50,
    "speech_commands_v1": partial(speech_commands, "speech_commands_v1"),
    "speech_commands_v2": partial(speech_commands, "speech_commands_v2"),
    "fluent_speech_commands": fluent_speech_commands,
    "voxforge": voxforge,
    "voxceleb1": voxceleb1,
    "nsynth": nsynth,
    "magnatagatune": magnatagatune,
    "pretrain": pretraining,
}
ABOUT = """# Synthetic corpus

Made by `hares.synthesis.make_corpus(seed={seed}, scale={scale:g})`: {clips} clips, {minutes:.0f} minutes, all of them
computed, none recorded. It holds the eleven data sets of HARES in their native layouts and an unlabelled
folder `pretrain/`. Scores on it say nothing about the real data sets.
"""


def make_corpus(out: Path, seed: int = 0, scale: float = 1.0, progress: Progress | None = None) -> None:
    """Writes the demonstration corpus under `out`.

    The folder appears at the end, complete: until then its parts are in `<out>.part`, which a later call
    starts anew.

    Args:
        out: folder to make; must not exist, or be empty.
        seed: the same seed gives the same bytes.
        scale: factor on the number of clips (1.0 is about 1100 clips); every class keeps enough for its splits.
        progress: called after every clip with the data set's name, the clips done and the clips in all.

    Raises:
        ValueError: `out` is not empty, or `scale` is not positive.
    """
    if scale <= 0:
        raise ValueError(f"synthesis: scale is {scale}; it must be greater than 0 (1.0 is the usual size)")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(
            f"synthesis: {out} is there already and is not empty; remove it or name another folder"
        )
    part = out.with_name(out.name + ".part")
    if part.is_symlink():
        part.unlink()  # it would be written through
    shutil.rmtree(part, ignore_errors=True)
    plans = {name: layout(seed, scale) for name, layout in LAYOUTS.items()}
    total = sum(len(plan.recordings) for plan in plans.values())
    done, seconds = 0, 0.0
    for name, plan in plans.items():
        for recording in plan.recordings:
            seconds += write_recording(recording, part)
            done += 1
            if progress is not None:
                progress(name, done, total)
        for path, text in plan.files.items():
            _write_text(part / path, text)
    _write_text(part / "README.md", ABOUT.format(seed=seed, scale=scale, clips=total, minutes=seconds / 60))
    if out.exists():
        out.rmdir()
    part.rename(out)


def _write_text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())
