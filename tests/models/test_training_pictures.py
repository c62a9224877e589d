"""TensorBoard's pictures, read back from its files: the crops that were read, and the views made of them."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from kits import training_kit as KIT
from models.frontend import FrontendConfig
from models.objective import Objective
from models.training.input_pipeline import InputSpec
from models.training.pictures import ViewPictures
from models.training.records import open_records

CLIPS = 5


def spec(file, kind, crop_length, mel_bins):
    return InputSpec(
        records=open_records([file]), batch_size=CLIPS, num_views=2, mixes=False, num_classes=0, noise_size=0,
        input_kind=kind, crop_length=crop_length, mel_bins=mel_bins, mixing_alpha=5.0, mixing_beta=2.0, seed=1,
    )  # fmt: skip


def images(folder):
    """By step and tag, what TensorBoard shows: (v, height, width) of 0 to 255."""
    found = {}
    for path in sorted(folder.glob("events*")):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                width, height, *pngs = tf.make_ndarray(value.tensor).tolist()
                pictures = [tf.io.decode_png(png).numpy()[..., 0] for png in pngs]
                assert all(p.shape == (int(height), int(width)) for p in pictures)
                found[event.step, value.tag] = np.stack(pictures)
    return found


class Negated(Objective):
    """Views are the crops with their sign turned round, so that loud is quiet."""

    def views(self, batch):
        views = -tf.concat(tf.unstack(batch["clips"], axis=1), axis=0)
        return views[..., tf.newaxis] if len(views.shape) == 3 else views

    def loss(self, encoder, batch, replicas):
        raise AssertionError("a picture needs no loss")


def test_log_mels_stand_upright_beside_their_views(tmp_path):
    # Frame t of clip c holds t in its lowest bin and c in the others: from left to right the bottom row gets brighter.
    contents = [np.full((9, 4), clip % 2, float) for clip in range(CLIPS)]
    for content in contents:
        content[:, 0] = np.arange(9)
    file = KIT.write(tmp_path / "c.tfrecord", [KIT.serialize(str(i), c, []) for i, c in enumerate(contents)])
    pictures = ViewPictures(str(tmp_path / "logs"), Negated(), spec(file, "log_mel", 9, 4), FrontendConfig())
    for step in (0, 50):
        pictures.write(step)
    found = images(tmp_path / "logs")
    assert set(found) == {(step, f"clip/{name}") for step in (0, 50) for name in ("crops", "views")}
    for step in (0, 50):
        crops, views = found[step, "clip/crops"], found[step, "clip/views"]
        assert crops.shape == views.shape == (2, 4, 9)
        np.testing.assert_array_equal(crops[0, 3], np.floor(np.arange(9) * 255 / 8))
        assert len(np.unique(crops[0, :3])) == 1
        assert np.abs(views.astype(int) - (255 - crops.astype(int))).max() <= 1


def test_a_waveforms_pictures_are_log_mels(tmp_path):
    time = np.arange(16_000) / 16_000
    tone = 8000 * np.sin(2 * np.pi * 1000 * time)  # one bright row
    file = KIT.write(
        tmp_path / "w.tfrecord", [KIT.serialize(str(i), tone, [], "waveform") for i in range(CLIPS)]
    )
    frontend = FrontendConfig()
    pictures = ViewPictures(str(tmp_path / "logs"), Negated(), spec(file, "waveform", 8000, 80), frontend)
    pictures.write(3)
    found = images(tmp_path / "logs")
    crops, views = found[3, "clip/crops"], found[3, "clip/views"]
    assert crops.shape == views.shape == (2, 80, frontend.num_frames(8000))
    # 1000 mel are 1000 Hz; the filters' middles lie evenly between 60 and 7800 Hz on the mel scale.
    lowest, highest = (2595 * np.log10(1 + hertz / 700) for hertz in (60, 7800))
    row = 79 - round((1000 - lowest) / (highest - lowest) * 81 - 1)
    assert set(crops.argmax(axis=1).ravel()) <= {row - 1, row, row + 1}
    np.testing.assert_allclose(crops, views, atol=1)  # a log-mel does not hear the sign


@pytest.mark.parametrize("value", [0.0, -3.0])
def test_silence_is_black(tmp_path, value):
    file = KIT.write(
        tmp_path / "s.tfrecord", [KIT.serialize(str(i), np.full((9, 4), value), []) for i in range(CLIPS)]
    )
    ViewPictures(str(tmp_path / "logs"), Negated(), spec(file, "log_mel", 9, 4), FrontendConfig()).write(0)
    assert all((picture == 0).all() for picture in images(tmp_path / "logs").values())
