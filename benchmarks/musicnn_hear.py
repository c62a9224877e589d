"""musicnn (Pons and Serra, 2019) as a HEAR module: `hear:benchmarks.musicnn_hear:FOLDER`.

FOLDER is the unpacked `musicnn` wheel; its network code and its MagnaTagATune checkpoint are used, its command line
is not. The embedding is the 200-d `penultimate` layer, of the whole crop (the network pools over time, so any length
will do). The spectrogram is musicnn's: 16 kHz, FFT 512, hop 256, 96 mel bands, rounded to float16 as there, then
log10(10000 m + 1). musicnn was trained on MagnaTagATune's training folders: its score there is not one of transfer.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import tensorflow as tf

CHECKPOINT = "MTT_musicnn"
CLASSES = 50
FFT, HOP, MEL_BANDS = 512, 256, 96


class Musicnn:
    """One graph a crop length, all with the checkpoint's weights."""

    sample_rate = 16_000
    scene_embedding_size = 200
    timestamp_embedding_size = 200

    def __init__(self, folder: str) -> None:
        package = Path(folder) / "musicnn"
        if not (package / CHECKPOINT).is_dir():
            raise ValueError(
                f"{folder}: no musicnn/{CHECKPOINT}; give the folder of the unpacked musicnn wheel"
            )
        if folder not in sys.path:
            sys.path.append(folder)
        self._networks = importlib.import_module("musicnn.models")
        self._checkpoint = f"{package / CHECKPOINT}/"
        self._graphs: dict[int, tuple[Any, Any, Any, Any]] = {}

    def embed(self, spectrograms: np.ndarray) -> np.ndarray:
        """(b, t, 96) to (b, 200)."""
        session, frames, training, penultimate = self._graph(spectrograms.shape[1])
        found: np.ndarray = session.run(penultimate, {frames: spectrograms, training: False})
        return found

    def _graph(self, length: int) -> tuple[Any, Any, Any, Any]:
        if length not in self._graphs:
            v1 = tf.compat.v1
            with tf.Graph().as_default() as graph:
                with v1.name_scope("model"):  # as when the checkpoint was written
                    frames = v1.placeholder(tf.float32, [None, length, MEL_BANDS])
                    training = v1.placeholder(tf.bool)
                    layers = self._networks.define_model(frames, training, CHECKPOINT, CLASSES)
                session = v1.Session(graph=graph)
                v1.train.Saver().restore(session, self._checkpoint)
            self._graphs[length] = session, frames, training, layers[-1]
        return self._graphs[length]


def load_model(model_file_path: str = "") -> Musicnn:
    """The network with the weights in the unpacked wheel at `model_file_path`."""
    return Musicnn(model_file_path)


def get_scene_embeddings(audio: np.ndarray, model: Musicnn) -> np.ndarray:
    """(n_sounds, n_samples) at 16 kHz to (n_sounds, 200)."""
    mel = librosa.feature.melspectrogram(
        y=np.asarray(audio), sr=model.sample_rate, n_fft=FFT, hop_length=HOP, n_mels=MEL_BANDS
    )
    rounded = np.swapaxes(mel, 1, 2).astype(np.float16)
    return model.embed(np.log10(10000 * rounded.astype(np.float32) + 1))
