"""Recordings are read to their end, whatever a header claims and whatever they are called; one that is cut is named."""

from __future__ import annotations

import io
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile

from hares.decoding import AudioError, decode, seconds
from hares.decoding.containers import missing_end
from hares.task import SAMPLE_RATE, Reason

NOISE = np.random.default_rng(0).uniform(-0.5, 0.5, 5 * SAMPLE_RATE).astype(np.float32)
FORMS = [
    *(("WAV", "PCM_16"), ("WAV", "PCM_24"), ("WAV", "IMA_ADPCM"), ("RF64", "PCM_16"), ("W64", "PCM_16")),
    *(("AU", "PCM_16"), ("AIFF", "PCM_16"), ("CAF", "PCM_16"), ("NIST", "PCM_16"), ("FLAC", "PCM_16")),
    *(("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III")),
]


def recorded(form: str, subtype: str | None = None, sound: np.ndarray = NOISE, **options: object) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, sound, SAMPLE_RATE, format=form, subtype=subtype, **options)
    return file.getvalue()


def reason_of(path: Path) -> Reason:
    with pytest.raises(AudioError) as caught:
        decode(path)
    return caught.value.reason


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.wav"


@pytest.mark.parametrize(("form", "subtype"), FORMS)
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_every_container_that_is_cut_is_named_whatever_its_suffix(
    path: Path, form: str, subtype: str, share: float
) -> None:
    whole = recorded(form, subtype)
    path.write_bytes(whole)
    assert len(decode(path)) == pytest.approx(len(NOISE), abs=0.1 * SAMPLE_RATE)
    path.write_bytes(whole[: int(share * len(whole))])
    assert reason_of(path) is Reason.TRUNCATED


@pytest.mark.parametrize("share", [0.3, 0.95])
def test_a_big_endian_wav_that_is_cut(path: Path, share: float) -> None:
    whole = recorded("WAV", "PCM_16", endian="BIG")
    assert whole[:4] == b"RIFX"
    path.write_bytes(whole)
    assert len(decode(path)) == len(NOISE)
    path.write_bytes(whole[: int(share * len(whole))])
    assert reason_of(path) is Reason.TRUNCATED


def with_length(wav: bytes, length: int, order: str = "<", chunk: bytes = b"data") -> bytes:
    at = wav.index(chunk) + 4
    return wav[:at] + struct.pack(f"{order}I", length % 2**32) + wav[at + 4 :]


# sox, arecord, lame, mpg123, ffmpeg and their kin, with the header counted or left out; and bytes too many.
LENGTHS = [
    0,
    0x7FFFF000,
    0x7FFFFFD3,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFDB,
    0xFFFFFFFE,
    0xFFFFFFFF,
    160_044,
    160_008,
    160_001,
]


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("endian", ["LITTLE", "BIG"])
def test_a_wav_from_a_pipe_is_all_that_follows(path: Path, length: int, endian: str) -> None:
    wav = recorded("WAV", "PCM_16", endian=endian)
    path.write_bytes(wav)
    expected = decode(path)
    path.write_bytes(with_length(wav, length, "<" if endian == "LITTLE" else ">"))
    np.testing.assert_array_equal(decode(path), expected)
    assert seconds(path) == 5.0
    np.testing.assert_array_equal(decode(path, 1.0, 2.0), expected[SAMPLE_RATE : 3 * SAMPLE_RATE])


def test_a_wav_from_a_pipe_with_chunks_before_the_sound(path: Path) -> None:
    wav = recorded("WAV", "PCM_16")
    odd = b"LIST" + struct.pack("<I", 999) + b"x" * 999 + b"\0"
    path.write_bytes(with_length(wav[:36] + odd + wav[36:], 0x7FFFFFFF - 1044))
    assert len(decode(path)) == len(NOISE)


@pytest.mark.parametrize("length", [0, 0x7F000008, 0x7FFFFFFF, 0xFFFFFFFF])
def test_an_aiff_from_a_pipe(path: Path, length: int) -> None:
    path.write_bytes(with_length(recorded("AIFF", "PCM_16"), length, ">", b"SSND"))
    assert len(decode(path)) == len(NOISE)


def test_an_au_whose_length_is_too_small_or_unknown(path: Path) -> None:
    au = recorded("AU", "PCM_16")
    for length in (0, 1_000, 0xFFFFFFFF):
        path.write_bytes(au[:8] + struct.pack(">I", length) + au[12:])
        assert len(decode(path)) == len(NOISE)


def test_a_w64_from_a_pipe(path: Path) -> None:
    w64 = recorded("W64", "PCM_16")
    at = w64.index(b"data\xf3\xac\xd3\x11") + 16
    for length in (0, (1 << 64) - 1):
        path.write_bytes(w64[:at] + struct.pack("<Q", length) + w64[at + 8 :])
        assert len(decode(path)) == len(NOISE)


def test_a_wav_without_sound_and_with_text_behind_is_empty(path: Path) -> None:
    text = b"LIST" + struct.pack("<I", 4) + b"INFO"
    path.write_bytes(recorded("WAV", "PCM_16", NOISE[:0]) + text)
    assert reason_of(path) is Reason.EMPTY


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_ogg_streams_one_after_another(path: Path, subtype: str) -> None:
    one, other = recorded("OGG", subtype, NOISE[:24_000]), recorded("OGG", subtype, NOISE[24_000:])
    path.write_bytes(one)
    first = decode(path)
    path.write_bytes(one + other + one)
    whole = decode(path)
    assert len(whole) == pytest.approx(len(NOISE) + 24_000, abs=0.1 * SAMPLE_RATE)
    np.testing.assert_array_equal(whole[: len(first)], first)
    np.testing.assert_array_equal(whole[-len(first) :], first)
    np.testing.assert_array_equal(decode(path, 1.0, 2.5), whole[SAMPLE_RATE : round(3.5 * SAMPLE_RATE)])
    assert seconds(path) == pytest.approx(6.5, abs=0.1)
    path.write_bytes(one[: len(one) // 2] + other)
    assert reason_of(path) is Reason.TRUNCATED
    path.write_bytes(one + other[: len(other) // 2])
    assert reason_of(path) is Reason.TRUNCATED


def test_ogg_streams_of_several_rates(path: Path) -> None:
    file = io.BytesIO()
    soundfile.write(file, np.repeat(NOISE, 2)[: 3 * 44_100], 44_100, format="OGG")
    path.write_bytes(file.getvalue() + recorded("OGG"))
    assert len(decode(path)) == pytest.approx(8 * SAMPLE_RATE, abs=0.1 * SAMPLE_RATE)


def vbr_mp3() -> bytes:
    """Noise, then near silence: frames that are far from one size, with a Xing frame first."""
    sound = NOISE.copy()
    sound[SAMPLE_RATE:] *= 0.001
    return recorded("MP3", None, sound, bitrate_mode="VARIABLE")


def first_frame(mp3: bytes) -> int:
    return mp3.index(b"\xff" + mp3[1:2], 4)


def test_an_mp3_without_a_count_is_read_to_its_end(path: Path) -> None:
    mp3 = vbr_mp3()
    path.write_bytes(mp3)
    assert len(decode(path)) == pytest.approx(len(NOISE), abs=0.1 * SAMPLE_RATE)
    bare = mp3[first_frame(mp3) :]
    path.write_bytes(bare)
    assert missing_end(path) is None
    assert abs(soundfile.info(path).duration - 5.0) > 1.0  # what libsndfile would have read
    assert len(decode(path)) == pytest.approx(len(NOISE), abs=0.15 * SAMPLE_RATE)
    assert seconds(path) == pytest.approx(5.0, abs=0.15)
    assert len(decode(path, 2.0, 2.0)) == 2 * SAMPLE_RATE
    path.write_bytes(bare[:-40])
    assert reason_of(path) is Reason.TRUNCATED


def test_mp3s_one_after_another_of_which_the_first_counts_itself_alone(path: Path) -> None:
    mp3 = vbr_mp3()
    path.write_bytes(mp3 + mp3)
    assert len(decode(path)) == pytest.approx(2 * len(NOISE), abs=0.3 * SAMPLE_RATE)
    tag = b"ID3\x04\0\0" + bytes((0, 0, 2, 0)) + bytes(256)
    path.write_bytes(tag + mp3 + tag + mp3 + b"TAG" + bytes(125))
    assert len(decode(path)) == pytest.approx(2 * len(NOISE), abs=0.3 * SAMPLE_RATE)


@pytest.mark.parametrize("size", [400, 200_000])
def test_junk_among_the_frames_of_an_mp3(path: Path, size: int) -> None:
    mp3 = vbr_mp3()
    middle = first_frame(mp3)
    for _ in range(30):
        middle = mp3.index(mp3[:2], middle + 4)
    path.write_bytes(mp3[:middle] + b"junk" * (size // 4) + mp3[middle:])
    try:
        assert len(decode(path)) == pytest.approx(len(NOISE), abs=0.1 * SAMPLE_RATE)
    except AudioError as error:
        assert error.reason is Reason.TRUNCATED


@pytest.mark.parametrize("tagged", [True, False])
@pytest.mark.parametrize("head", ["ffff0000", "fff788c4", "00000000"])
def test_an_mp3_whose_first_bytes_are_damaged(path: Path, tagged: bool, head: str) -> None:
    mp3 = vbr_mp3()
    if not tagged:
        mp3 = mp3[first_frame(mp3) :]
    path.write_bytes(mp3)
    whole = len(decode(path))
    path.write_bytes(bytes.fromhex(head) + mp3[4:])
    if head == "00000000":  # libsndfile does not open it
        assert reason_of(path) is Reason.UNDECODABLE
    else:
        assert abs(len(decode(path)) - whole) < 0.1 * SAMPLE_RATE


def test_an_mp3_whose_count_is_damaged_is_not_trimmed_by_what_stands_beside_it(path: Path) -> None:
    mp3 = vbr_mp3()
    path.write_bytes(mp3)
    whole = len(decode(path))
    damaged = mp3.replace(b"Xing", bytes(4), 1).replace(b"Info", bytes(4), 1)
    assert damaged != mp3
    path.write_bytes(damaged)
    assert whole <= len(decode(path)) < whole + 0.2 * SAMPLE_RATE


def test_a_flac_whose_header_has_no_length_or_a_wrong_one(path: Path) -> None:
    flac = recorded("FLAC", "PCM_16")
    path.write_bytes(flac)
    expected = decode(path)
    for counted in (0, SAMPLE_RATE):
        lying = flac[:21] + bytes([flac[21] & 0xF0]) + struct.pack(">I", counted) + flac[26:]
        path.write_bytes(lying)
        np.testing.assert_array_equal(decode(path), expected)
        assert seconds(path) == 5.0
        path.write_bytes(lying + b"TAG" + bytes(125))
        np.testing.assert_array_equal(decode(path), expected)
    for end in (-1, -50, -5_000, len(flac) // 2):
        path.write_bytes((flac[:21] + bytes([flac[21] & 0xF0, 0, 0, 0, 0]) + flac[26:])[:end])
        assert reason_of(path) is Reason.TRUNCATED
    path.write_bytes(flac[:21] + bytes([flac[21] & 0xF0]) + struct.pack(">I", len(NOISE) + 9) + flac[26:])
    assert reason_of(path) is Reason.TRUNCATED


@pytest.fixture(scope="module")
def by_ffmpeg(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Five seconds of sound in the containers that ffmpeg alone reads, by suffix."""
    if subprocess.run(["sh", "-c", "command -v ffmpeg"], capture_output=True).returncode:
        pytest.skip("no ffmpeg on the PATH")
    folder = tmp_path_factory.mktemp("made")
    soundfile.write(folder / "a.wav", NOISE, SAMPLE_RATE)
    made = {}
    for name, options in (
        ("a.m4a", []), ("a.mp4", ["-movflags", "+faststart"]), ("a.3gp", ["-c:a", "aac"]),
        ("a.webm", ["-c:a", "libopus"]),
        ("a.mka", ["-c:a", "flac"]), ("a.aac", []), ("a.wma", []),
    ):  # fmt: skip
        command = ["ffmpeg", "-v", "error", "-i", folder / "a.wav", "-ar", "16000", *options, folder / name]
        subprocess.run(command, check=True)
        made[Path(name).suffix] = (folder / name).read_bytes()
    return made


SUFFIXES = (".m4a", ".mp4", ".3gp", ".webm", ".mka", ".aac", ".wma")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_ffmpeg_reads_is_known_by_its_bytes_and_named_where_it_is_cut(
    tmp_path: Path, by_ffmpeg: dict[str, bytes], suffix: str
) -> None:
    whole = by_ffmpeg[suffix]
    (tmp_path / f"a{suffix}").write_bytes(whole)
    expected = decode(tmp_path / f"a{suffix}")
    assert len(expected) == pytest.approx(len(NOISE), abs=0.15 * SAMPLE_RATE)
    for name in ("a.wav", "a.mp3", "a.opus", "a"):
        (tmp_path / name).write_bytes(whole)
        np.testing.assert_array_equal(decode(tmp_path / name), expected)
    part = decode(tmp_path / "a.wav", 1.0, 2.0)
    assert len(part) == 2 * SAMPLE_RATE
    # What was resampled differs at its ends, where the resampler knows nothing of what is beyond, and rounds otherwise.
    np.testing.assert_allclose(part[500:-500], expected[SAMPLE_RATE + 500 : 3 * SAMPLE_RATE - 500], atol=1)
    for share in (0.3, 0.6, 0.95):
        for name in (f"a{suffix}", "a.wav"):
            (tmp_path / name).write_bytes(whole[: int(share * len(whole))])
            assert reason_of(tmp_path / name) is Reason.TRUNCATED, share


def test_a_webm_whose_segment_has_no_size_is_held_against_its_length(
    path: Path, by_ffmpeg: dict[str, bytes]
) -> None:
    webm = by_ffmpeg[".webm"]
    at = webm.index(b"\x18\x53\x80\x67") + 4
    assert webm[at] == 1  # a size of eight bytes
    unknown = webm[:at] + b"\x01" + b"\xff" * 7 + webm[at + 8 :]
    path.write_bytes(unknown)
    assert len(decode(path)) == pytest.approx(len(NOISE), abs=0.1 * SAMPLE_RATE)
    clusters = [i for i in range(len(unknown)) if unknown.startswith(b"\xa3", i)]
    path.write_bytes(unknown[: clusters[len(clusters) // 2]])
    with pytest.raises(AudioError) as caught:
        decode(path)
    assert caught.value.reason in (Reason.TRUNCATED, Reason.UNDECODABLE)


def test_sound_under_the_suffix_of_what_ffmpeg_reads(tmp_path: Path) -> None:
    for form in ("WAV", "FLAC", "OGG", "MP3"):
        (tmp_path / "a.m4a").write_bytes(recorded(form))
        assert len(decode(tmp_path / "a.m4a")) == pytest.approx(len(NOISE), abs=0.1 * SAMPLE_RATE)
