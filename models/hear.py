"""Our exports as a module with the HEAR 2021 interface, to enter them in other benchmarks.

The interface is https://hearbenchmark.com/hear-api.html: `load_model`, `get_scene_embeddings` and
`get_timestamp_embeddings` on mono audio in [-1, 1] at `model.sample_rate`, all sounds of a call equally long.

    model = hear.load_model("W/pushed/1")
    embeddings = hear.get_scene_embeddings(audio, model)                          # (n_sounds, d)
    embeddings, timestamps = hear.get_timestamp_embeddings(audio, model)          # (n_sounds, n_timestamps, d)

HEAR leaves the timestamps to the model; ours, as our encoders embed whole clips: a window of one second every
50 ms (HEAR asks for 50 ms or less), centred on its timestamp, the sound padded with zeros by half a window at
both ends. The first timestamp is 0 ms, the last is within one hop of the end.
"""

from __future__ import annotations

import tensorflow as tf

from models.export import read_metadata

WINDOW_SECONDS = 1.0
HOP_MILLISECONDS = 50
_WINDOWS_AT_ONCE = 32


class HearModel(tf.Module):
    """An exported encoder with the attributes that HEAR asks for.

    Attributes:
        sample_rate: of the audio, in Hz.
        scene_embedding_size: d of `get_scene_embeddings`.
        timestamp_embedding_size: d of `get_timestamp_embeddings`.
    """

    def __init__(self, path: str) -> None:
        super().__init__(name="hares_hear")
        metadata = read_metadata(path)
        self.sample_rate = int(metadata["sample_rate"])
        self.scene_embedding_size = int(metadata["embedding_size"])
        self.timestamp_embedding_size = self.scene_embedding_size
        self._model = tf.saved_model.load(path)
        self._embed = self._model.signatures["serving_default"]

    def __call__(self, audio: tf.Tensor) -> tf.Tensor:
        """Embeddings (b, d) of waveforms (b, n) float32."""
        return self._embed(waveform=audio)["embedding"]


def load_model(model_file_path: str = "") -> HearModel:
    """Loads an exported encoder.

    Args:
        model_file_path: folder of the export: a version below `pushed` of a run's workspace.

    Raises:
        ValueError: there is no export.
    """
    if not model_file_path:
        raise ValueError(
            "models.hear has no weights of its own: give load_model the folder of an exported encoder"
        )
    return HearModel(model_file_path)


def get_scene_embeddings(audio: tf.Tensor, model: HearModel) -> tf.Tensor:
    """One embedding a sound.

    Args:
        audio: (n_sounds, n_samples) float32 in [-1, 1] at `model.sample_rate`.
        model: from `load_model`.

    Returns:
        (n_sounds, d) float32.

    Raises:
        ValueError: the audio does not have two dimensions.
    """
    return model(_checked(audio))


def get_timestamp_embeddings(audio: tf.Tensor, model: HearModel) -> tuple[tf.Tensor, tf.Tensor]:
    """An embedding of the second around each timestamp, 50 ms apart.

    Args:
        audio: (n_sounds, n_samples) float32 in [-1, 1] at `model.sample_rate`.
        model: from `load_model`.

    Returns:
        Embeddings (n_sounds, n_timestamps, d) and timestamps in milliseconds (n_sounds, n_timestamps), both
        float32; n_timestamps = 1 + n_samples // hop.

    Raises:
        ValueError: the audio does not have two dimensions.
    """
    audio = _checked(audio)
    window = round(WINDOW_SECONDS * model.sample_rate)
    hop = model.sample_rate * HOP_MILLISECONDS // 1000
    sounds, samples = audio.shape
    count = 1 + samples // hop
    padded = tf.pad(audio, [[0, 0], [window // 2, window]])
    starts = range(0, count * hop, hop)
    timestamps = tf.tile([[1000.0 * start / model.sample_rate for start in starts]], [sounds, 1])
    embeddings = [_windows_of(sound, starts, window, model) for sound in padded]
    return tf.stack(embeddings), timestamps


def _windows_of(sound: tf.Tensor, starts: range, window: int, model: HearModel) -> tf.Tensor:
    """Embeddings (n_timestamps, d) of the windows of one padded sound, a few at a time to bound memory."""
    parts = []
    for first in range(0, len(starts), _WINDOWS_AT_ONCE):
        some = starts[first : first + _WINDOWS_AT_ONCE]
        parts.append(model(tf.stack([sound[start : start + window] for start in some])))
    return tf.concat(parts, axis=0)


def _checked(audio: tf.Tensor) -> tf.Tensor:
    audio = tf.convert_to_tensor(audio, tf.float32)
    if audio.shape.rank != 2:
        raise ValueError(
            f"HEAR audio is (n_sounds, n_samples), got shape {tuple(audio.shape)}; stack or pad the sounds"
        )
    return audio
