"""Native layouts of the speech data sets: Speech Commands v1 and v2, Fluent, VoxForge, VoxCeleb1.

Speakers of train and test are disjoint, as in the real data sets, but for VoxCeleb1, which asks who
speaks: there the sessions ("videos") are disjoint instead, and each has its own microphone.
"""

from __future__ import annotations

import uuid
from functools import partial

import numpy as np

from hares.synthesis.environments import SOUNDS
from hares.synthesis.phones import LANGUAGES, SpokenWord, phrase, spelled
from hares.synthesis.plan import Plan, Recording, scaled, table
from hares.synthesis.signals import (
    Samples,
    at_level,
    coloured,
    hex_name,
    keyed,
    length,
    limited,
    microphone,
    placed,
    recorded,
)
from hares.synthesis.voices import is_low, speak, speaker, talk

CORE_WORDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
COMMANDS = {
    "speech_commands_v1": (*CORE_WORDS, "bed", "dog", "tree", "zero"),
    "speech_commands_v2": (*CORE_WORDS, "dog", "tree", "backward", "visual"),
}
# File name to a sound of `SOUNDS`, or to the decibels an octave by which noise falls.
BACKGROUNDS: dict[str, str | float] = {
    "white_noise": 0.0, "pink_noise": 3.0, "running_tap": "rain", "exercise_bike": "engine",
    "dude_miaowing": "dog", "doing_the_dishes": "door_wood_knock",
}  # fmt: skip
INTENTS: tuple[tuple[str, str, str, tuple[str, ...]], ...] = (
    ("activate", "lights", "none", ("turn on the lights", "switch on the lights")),
    ("activate", "lights", "kitchen", ("turn on the kitchen lights", "lights on in the kitchen")),
    ("deactivate", "lights", "bedroom", ("turn off the bedroom lights", "bedroom lights off")),
    ("activate", "music", "none", ("play the music", "turn on the music")),
    ("deactivate", "music", "none", ("stop the music", "pause the music")),
    ("increase", "volume", "none", ("turn up the volume", "louder")),
    ("decrease", "volume", "none", ("turn down the volume", "quieter")),
    ("increase", "heat", "washroom", ("increase the heat in the washroom", "washroom heat up")),
    ("decrease", "heat", "none", ("decrease the heat", "turn down the heat")),
    ("bring", "newspaper", "none", ("bring me the newspaper", "get me my newspaper")),
    ("bring", "juice", "none", ("bring me some juice", "get the juice")),
    ("change language", "Chinese", "none", ("set my language to chinese", "change the language to chinese")),
)
SPEECH_SNR_DB, SPEECH_DBFS = (5.0, 30.0), (-32.0, -16.0)


def speech_commands(name: str, seed: int, scale: float) -> Plan:
    """`speech_commands_v1` or `_v2`: word folders of one-second files, test and validation lists, noises."""
    splits = {"train": scaled(5, scale, 2), "validation": 1, "testing": scaled(2, scale)}
    recordings: list[Recording] = []
    lists: dict[str, list[str]] = {"validation": [], "testing": []}
    for split, people in splits.items():
        for person in (hex_name(8, seed, name, split, i) for i in range(people)):
            for word in COMMANDS[name]:
                path = f"{word}/{person}_nohash_0.wav"
                recordings.append(Recording(f"{name}/{path}", partial(_command, seed, name, word, person)))
                if split != "train":
                    lists[split].append(path)
    for noise, sound in BACKGROUNDS.items():
        path = f"{name}/_background_noise_/{noise}.wav"
        recordings.append(Recording(path, partial(_background, seed, name, noise, sound)))
    files = {f"{name}/{split}_list.txt": "".join(f"{p}\n" for p in sorted(lists[split])) for split in lists}
    return Plan(tuple(recordings), files)


def fluent_speech_commands(seed: int, scale: float) -> Plan:
    """`wavs/speakers/<speaker>/<uuid>.wav`, `data/*_data.csv` with three slots an utterance."""
    name = "fluent_speech_commands"
    splits = {"train": scaled(4, scale, 2), "valid": 1, "test": scaled(2, scale)}
    recordings, files, everyone = [], {}, []
    for split, people in splits.items():
        rows: list[list[object]] = [
            ["", "path", "speakerId", "transcription", "action", "object", "location"]
        ]
        for i in range(people):
            person = hex_name(16, seed, name, split, i)
            everyone.append(person)
            for j, (action, thing, place, sayings) in enumerate(INTENTS):
                text = sayings[(i + j) % len(sayings)]
                file = uuid.UUID(bytes=keyed(seed, name, person, j).bytes(16), version=4)
                path = f"wavs/speakers/{person}/{file}.wav"
                rows.append([len(rows) - 1, path, person, text, action, thing, place])
                recordings.append(Recording(f"{name}/{path}", partial(_utterance, seed, name, person, text)))
        files[f"{name}/data/{split}_data.csv"] = table(rows)
    files[f"{name}/data/speaker_demographics.csv"] = table(
        [["speakerId"], *([person] for person in everyone)]
    )
    return Plan(tuple(recordings), files)


def voxforge(seed: int, scale: float) -> Plan:
    """`<language>/<user>-<date>-<id>/` with `wav/` and `etc/PROMPTS`; six speakers a language."""
    recordings, files = [], {}
    for language in LANGUAGES:
        for i in range(scaled(6, scale, 4)):
            rng = keyed(seed, "voxforge", language, i)
            user = f"reader{hex_name(5, seed, 'voxforge', language, i)}"
            session = f"{user}-2008{rng.integers(1, 13):02}{rng.integers(1, 29):02}-{hex_name(3, seed, user)}"
            folder = f"voxforge/{language}/{session}"
            prompts = []
            for k in range(scaled(2, scale, 2)):
                file = f"{language}{k + 1:04}"
                words = phrase(language, int(rng.integers(4, 7)), rng)
                prompts.append(f"{session}/mfc/{file} {' '.join(word.text for word in words)}\n")
                key = ("voxforge", language, user, k)
                render = partial(_reading, seed, key, user, tuple(words), language)
                recordings.append(Recording(f"{folder}/wav/{file}.wav", render))
            files[f"{folder}/etc/PROMPTS"] = "".join(prompts)
            files[f"{folder}/etc/README"] = f"User Name:{user}\nLanguage: {language}\n"
    return Plan(tuple(recordings), files)


def voxceleb1(seed: int, scale: float) -> Plan:
    """`wav/<id>/<video>/<number>.wav` and `iden_split.txt`; ten people, the last video is the test's."""
    recordings: list[Recording] = []
    split_rows: list[str] = []
    meta: list[list[object]] = [["VoxCeleb1 ID", "VGGFace1 ID", "Gender", "Nationality", "Set"]]
    for i in range(10):
        person = f"id{10001 + i}"
        voice = speaker(seed, f"voxceleb {person}")
        meta.append([person, f"Speaker_{i + 1}", "m" if is_low(voice) else "f", "-", "dev"])
        for part, clips in ((1, scaled(2, scale, 2)), (1, scaled(2, scale)), (2, 1), (3, scaled(3, scale))):
            video = hex_name(11, seed, "voxceleb1", person, part, len(split_rows))
            for k in range(clips):
                path = f"{person}/{video}/{k + 1:05}.wav"
                split_rows.append(f"{part} {path}\n")
                recordings.append(
                    Recording(f"voxceleb1/wav/{path}", partial(_interview, seed, person, video, k))
                )
    files = {"voxceleb1/iden_split.txt": "".join(split_rows), "voxceleb1/vox1_meta.csv": table(meta, "\t")}
    return Plan(tuple(recordings), files)


def _command(seed: int, name: str, word: str, person: str) -> Samples:
    rng = keyed(seed, name, word, person)
    said = speak(spelled(word), speaker(seed, person), rng)
    return recorded(placed(said, length(1.0), rng), rng, SPEECH_SNR_DB, SPEECH_DBFS)


def _background(seed: int, name: str, noise: str, sound: str | float) -> Samples:
    rng, n = keyed(seed, name, noise), length(4.0)
    if isinstance(sound, float):
        return limited(at_level(coloured(rng, n, sound), -24.0))
    return recorded(SOUNDS[sound](rng, n), rng, (5.0, 15.0), (-30.0, -24.0))


def _utterance(seed: int, name: str, person: str, text: str) -> Samples:
    rng = keyed(seed, name, person, text)
    said = speak(spelled(text), speaker(seed, person), rng)
    return recorded(_padded(said, rng), rng, SPEECH_SNR_DB, SPEECH_DBFS)


def _reading(
    seed: int, key: tuple[str | int, ...], user: str, words: tuple[SpokenWord, ...], language: str
) -> Samples:
    rng = keyed(seed, *key)
    said = speak(words, speaker(seed, user), rng, LANGUAGES[language])
    heard = microphone(_padded(said, rng), keyed(seed, "microphone", user), 3.0)
    return recorded(heard, rng, SPEECH_SNR_DB, SPEECH_DBFS)


def _interview(seed: int, person: str, video: str, clip: int) -> Samples:
    rng = keyed(seed, "voxceleb1", person, video, clip)
    said = talk("en", speaker(seed, f"voxceleb {person}"), float(rng.uniform(1.2, 2.2)), rng)[1]
    heard = microphone(said, keyed(seed, "microphone", video))
    return recorded(heard, rng, (8.0, 25.0), SPEECH_DBFS)


def _padded(said: Samples, rng: np.random.Generator) -> Samples:
    """Speech with up to 0.3 s of silence on either side."""
    before, after = (np.zeros(length(rng.uniform(0.05, 0.3))) for _ in range(2))
    return np.concatenate([before, said, after])
