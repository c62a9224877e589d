"""Decoding against librosa and known signals, and every kind of file that must be refused."""

from __future__ import annotations

import os
import pickle
import stat
import struct
from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile
import soxr

from hares.decoding import MIN_SAMPLES, AudioError, Limits, decode, seconds
from hares.decoding.waveform import decode_here
from hares.task import SAMPLE_RATE, Reason


def tone(rate: int, length: float = 0.5, frequency: float = 440.0) -> np.ndarray:
    t = np.arange(round(rate * length)) / rate
    return (0.5 * np.sin(2 * np.pi * frequency * t)).astype(np.float32)


def refused(path: Path, **arguments: float) -> AudioError:
    with pytest.raises(AudioError) as caught:
        decode(path, **arguments)
    return caught.value


def test_sixteen_bit_at_16_khz_comes_back_bit_for_bit(tmp_path: Path) -> None:
    samples = np.random.default_rng(0).integers(-32_768, 32_768, 5_000).astype(np.int16)
    soundfile.write(tmp_path / "a.wav", samples, SAMPLE_RATE)
    soundfile.write(tmp_path / "a.flac", samples, SAMPLE_RATE)
    for name in ("a.wav", "a.flac"):
        decoded = decode(tmp_path / name)
        assert decoded.dtype == np.int16
        np.testing.assert_array_equal(decoded, samples)


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("form", ["WAV", "WAVEX", "RF64", "W64", "AIFF", "AU", "CAF", "FLAC"])
def test_sixteen_bit_of_every_container_is_what_libsndfile_makes_of_it_in_float(
    tmp_path: Path, form: str, channels: int
) -> None:
    samples = np.random.default_rng(channels).integers(-32_768, 32_768, (5_000, channels)).astype(np.int16)
    soundfile.write(tmp_path / "a.bin", samples, 44_100, format=form, subtype="PCM_16")
    frames, rate = soundfile.read(tmp_path / "a.bin", dtype="float32", always_2d=True)
    mono = np.add.reduce(list(frames.T)) / np.float32(channels)
    expected = np.rint(soxr.resample(mono, rate, SAMPLE_RATE, quality="HQ") * 32_768)
    np.testing.assert_array_equal(decode(tmp_path / "a.bin"), np.clip(expected, -32_768, 32_767))


@pytest.mark.parametrize(
    ("subtype", "steps"),
    [("PCM_U8", 256), ("PCM_24", 1), ("PCM_32", 1), ("FLOAT", 1), ("DOUBLE", 1)],
)
def test_every_depth(tmp_path: Path, subtype: str, steps: int) -> None:
    samples = tone(SAMPLE_RATE)
    soundfile.write(tmp_path / "a.wav", samples, SAMPLE_RATE, subtype=subtype)
    error = np.abs(decode(tmp_path / "a.wav").astype(int) - np.rint(samples * 32_768).astype(int))
    assert error.max() <= steps


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 48_000, 192_000])
def test_resampling_agrees_with_librosa(tmp_path: Path, rate: int) -> None:
    samples = tone(rate)
    soundfile.write(tmp_path / "a.wav", samples, rate, subtype="FLOAT")
    expected = librosa.resample(samples, orig_sr=rate, target_sr=SAMPLE_RATE, res_type="soxr_hq")
    decoded = decode(tmp_path / "a.wav")
    # librosa pads the last fraction of a sample with a zero
    assert len(expected) - len(decoded) in (0, 1)
    assert np.abs(decoded - np.rint(expected[: len(decoded)] * 32_768)).max() <= 1


def test_six_channels_at_192_khz_in_float_are_averaged(tmp_path: Path) -> None:
    mono = tone(192_000)
    channels = np.stack([mono * weight for weight in (0.0, 0.5, 1.0, 1.5, 2.0, 1.0)], axis=1)
    soundfile.write(tmp_path / "many.wav", channels, 192_000, subtype="FLOAT")
    soundfile.write(tmp_path / "one.wav", mono, 192_000, subtype="FLOAT")
    many, one = decode(tmp_path / "many.wav").astype(int), decode(tmp_path / "one.wav").astype(int)
    assert len(many) == 8_000
    assert np.abs(many - one).max() <= 1


@pytest.mark.parametrize(("name", "options"), [("a.mp3", {}), ("a.ogg", {}), ("o.ogg", {"subtype": "OPUS"})])
def test_lossy_formats_keep_the_tone(tmp_path: Path, name: str, options: dict[str, str]) -> None:
    soundfile.write(tmp_path / name, tone(SAMPLE_RATE, 1.0), SAMPLE_RATE, **options)
    decoded = decode(tmp_path / name)
    assert abs(len(decoded) - SAMPLE_RATE) <= 2 * 1_152
    spectrum = np.abs(np.fft.rfft(decoded[4_000:12_000]))
    assert spectrum.argmax() * SAMPLE_RATE / 8_000 == pytest.approx(440, abs=2)


def test_louder_than_full_scale_is_clipped(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", 4 * tone(SAMPLE_RATE), SAMPLE_RATE, subtype="FLOAT")
    decoded = decode(tmp_path / "a.wav")
    assert (decoded.min(), decoded.max()) == (-32_768, 32_767)


@pytest.mark.parametrize("rate", [16_000, 48_000])
def test_a_part_of_a_file(tmp_path: Path, rate: int) -> None:
    samples = np.random.default_rng(1).uniform(-0.5, 0.5, 3 * rate).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", samples, rate, subtype="FLOAT")
    soundfile.write(tmp_path / "b.wav", samples[rate : 2 * rate], rate, subtype="FLOAT")
    np.testing.assert_array_equal(decode(tmp_path / "a.wav", 1.0, 1.0), decode(tmp_path / "b.wav"))
    assert len(decode(tmp_path / "a.wav", 2.0)) == SAMPLE_RATE
    assert refused(tmp_path / "a.wav", start=2.5, duration=1.0).reason is Reason.TRUNCATED
    assert refused(tmp_path / "a.wav", start=9.0).reason is Reason.TRUNCATED


def test_a_part_does_not_read_the_rest(tmp_path: Path) -> None:
    samples = tone(SAMPLE_RATE, 2.0)
    samples[SAMPLE_RATE:] = np.nan
    soundfile.write(tmp_path / "a.wav", samples, SAMPLE_RATE, subtype="FLOAT")
    assert len(decode(tmp_path / "a.wav", 0.0, 1.0)) == SAMPLE_RATE
    assert refused(tmp_path / "a.wav").reason is Reason.NON_FINITE


def test_a_name_that_is_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"h\xe9ron.wav")
    soundfile.write(tmp_path / "heron.wav", tone(SAMPLE_RATE), SAMPLE_RATE)
    (tmp_path / "heron.wav").rename(path)
    assert len(decode(path)) == 8_000


def test_wrong_arguments(tmp_path: Path) -> None:
    for arguments in ({"start": -1.0}, {"duration": 0.0}):
        with pytest.raises(ValueError, match="start must be"):
            decode(tmp_path / "a.wav", **arguments)


def test_absent(tmp_path: Path) -> None:
    assert refused(tmp_path / "no.wav").reason is Reason.ABSENT


def test_empty(tmp_path: Path) -> None:
    (tmp_path / "zero_bytes.wav").touch()
    soundfile.write(tmp_path / "zero_samples.wav", np.zeros(0), SAMPLE_RATE)
    for name in ("zero_bytes.wav", "zero_samples.wav"):
        assert refused(tmp_path / name).reason is Reason.EMPTY


@pytest.mark.parametrize("name", ["text.wav", "text.mp3", "text.flac", "text.raw", "text"])
def test_text_is_not_sound(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("this is a page that says: not found\n" * 50)
    assert refused(tmp_path / name).reason is Reason.UNDECODABLE


def test_a_folder_is_not_sound(tmp_path: Path) -> None:
    (tmp_path / "a.wav").mkdir()
    assert refused(tmp_path / "a.wav").reason is Reason.UNDECODABLE


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_not_finite(tmp_path: Path, value: float) -> None:
    samples = tone(SAMPLE_RATE)
    samples[77] = value
    soundfile.write(tmp_path / "a.wav", samples, SAMPLE_RATE, subtype="FLOAT")
    assert refused(tmp_path / "a.wav").reason is Reason.NON_FINITE


def test_ten_milliseconds_are_too_short(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "short.wav", tone(48_000, 0.010), 48_000)
    soundfile.write(tmp_path / "window.wav", tone(48_000, 0.025), 48_000)
    assert refused(tmp_path / "short.wav").reason is Reason.TOO_SHORT
    assert len(decode(tmp_path / "window.wav")) == MIN_SAMPLES


@pytest.mark.parametrize("name", ["a.wav", "f.wav", "a.flac", "a.mp3", "a.ogg", "a.aiff"])
@pytest.mark.parametrize("share", [0.5, 0.97])
def test_half_copied_files(tmp_path: Path, name: str, share: float) -> None:
    path = tmp_path / name
    noise = np.random.default_rng(2).uniform(-0.5, 0.5, 3 * SAMPLE_RATE).astype(np.float32)
    soundfile.write(path, noise, SAMPLE_RATE, subtype="FLOAT" if name == "f.wav" else None)
    decode(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    assert refused(path).reason is Reason.TRUNCATED


def test_a_header_that_lies_allocates_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    soundfile.write(path, tone(SAMPLE_RATE), SAMPLE_RATE)
    flac = bytearray(path.read_bytes())
    flac[8 + 13] |= 0x0F  # the top four bits of STREAMINFO's 36-bit sample count: 64 thousand million samples
    path.write_bytes(flac)
    assert refused(path).reason is Reason.TOO_LONG


def test_a_sample_rate_that_lies_makes_no_hours_out_of_seconds(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(SAMPLE_RATE), SAMPLE_RATE)
    wav = bytearray(path.read_bytes())
    wav[24:28] = struct.pack("<I", 1)
    path.write_bytes(wav)
    assert refused(path).reason is Reason.BAD_HEADER


def test_m4a_without_ffmpeg_names_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    (tmp_path / "a.m4a").write_bytes(b"\0\0\0\x20ftypM4A " + bytes(100))
    # Decoded here: the decoder's own process has the PATH of its start.
    with pytest.raises(AudioError, match="install") as caught:
        decode_here(tmp_path / "a.m4a", 0.0, None, Limits())
    assert caught.value.reason is Reason.NEEDS_FFMPEG


@pytest.fixture
def stand_in_ffmpeg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program in ffmpeg's place that copies a prepared WAV to its last argument: the plumbing, not the codec."""
    programs = tmp_path / "programs"
    programs.mkdir()
    script = programs / "ffmpeg"
    script.write_text(
        '#!/bin/sh\nfor last; do :; done\n[ -f "$PREPARED" ] && exec /bin/cp "$PREPARED" "$last"\n'
        "echo 'moov atom not found' >&2\nexit 1\n"
    )
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.setenv("PREPARED", str(tmp_path / "prepared.wav"))
    return tmp_path / "prepared.wav"


def test_m4a_through_ffmpeg(tmp_path: Path, stand_in_ffmpeg: Path) -> None:
    (tmp_path / "a.m4a").write_bytes(b"\0\0\0\x20ftypM4A " + bytes(100))
    with pytest.raises(AudioError, match="moov atom not found") as caught:
        decode_here(tmp_path / "a.m4a", 0.0, None, Limits())
    assert caught.value.reason is Reason.UNDECODABLE
    soundfile.write(stand_in_ffmpeg, np.stack([tone(44_100)] * 2, axis=1), 44_100, subtype="FLOAT")
    assert len(decode_here(tmp_path / "a.m4a", 0.0, None, Limits())) == 8_000


def test_length_by_the_header(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone(44_100, 1.5), 44_100)
    assert seconds(tmp_path / "a.wav") == pytest.approx(1.5)


def test_the_error_survives_the_way_between_processes() -> None:
    error = pickle.loads(pickle.dumps(AudioError(Reason.EMPTY, "nothing there")))
    assert (error.reason, str(error)) == (Reason.EMPTY, "nothing there")


@pytest.mark.corpus
def test_no_real_recording_is_refused(shared_corpus: Path) -> None:
    paths = [p for p in sorted(shared_corpus.rglob("*")) if p.suffix in (".wav", ".flac", ".mp3")]
    assert len(paths) == 802
    for path in paths:
        assert len(decode(path)) == pytest.approx(seconds(path) * SAMPLE_RATE, abs=1)


@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_a_file_read_in_one_block_and_in_many_gives_the_same_samples(
    tmp_path: Path, monkeypatch, rate
) -> None:
    sound = 0.1 * np.random.default_rng(0).standard_normal((3 * rate + 7, 2))
    soundfile.write(tmp_path / "a.wav", sound, rate)
    whole = decode_here(tmp_path / "a.wav", 0.0, None, Limits())
    monkeypatch.setattr("hares.decoding.waveform._BLOCK_VALUES", 10_000)
    np.testing.assert_array_equal(decode_here(tmp_path / "a.wav", 0.0, None, Limits()), whole)
