"""The decoding itself: any recording to 16 kHz mono 16-bit samples (paper section 3: "a waveform sampled at 16kHz").

soundfile reads WAV, FLAC, Ogg and MP3 of any rate, depth and number of channels; channels are averaged, soxr
(HQ) resamples, and the result is rounded and clipped to int16. What soundfile cannot open and the suffix says
is compressed video-style audio (m4a, webm, ...) goes through ffmpeg, if it is on the PATH, and then the same
way. ffmpeg may read nothing but that file, and by the demuxers of these suffixes alone: a play list under the
name of a recording would lead it anywhere.

Files are decoded in blocks: memory follows the sound that is there, never what a header claims, and never the
part of a file before `start` or after `duration`.

This module is called in the decoder's own process only (`hares._decode_worker`), since its libraries are C code
that reads bytes from anywhere; everyone else calls `hares.audio`. It imports neither TensorFlow nor Beam.
"""

from __future__ import annotations

import os
import shutil
import signal
import struct
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr

from hares.task import Reason
from hares.truncation import missing_end

SAMPLE_RATE = 16_000
MIN_SAMPLES = 400  # one analysis window of 25 ms

# What a data set's folder is searched for; AU, CAF and W64 decode too, but say nothing when they are cut
# short.
SOUNDFILE_SUFFIXES = frozenset((".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff"))
FFMPEG_SUFFIXES = frozenset((".m4a", ".mp4", ".aac", ".webm", ".mka", ".mkv", ".wma", ".amr", ".3gp"))

_BLOCK_VALUES = 1 << 20  # samples times channels decoded at once: 4 MiB of float32
_MIN_RATE, _MAX_RATE = 2_000, 768_000  # outside, a header lies: 1 Hz would make 16,000 samples out of one
_MAX_CHANNELS = 64  # ambisonics of the seventh order
_MAX_FRAMES = 1 << 40  # FLAC written to a pipe says 2^63 - 1: no length at all
# An MP3 header counts whole frames of 1,152 samples, and encoders disagree whether the Xing frame is one of
# them.
_MP3_SLACK = 2 * 1_152
_DEMUXERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,asf,aac,amr"


@dataclass(frozen=True)
class Limits:
    """What one file may cost.

    Attributes:
        seconds: wall clock that decoding it may take.
        memory_bytes: address space of the process that decodes it.
        longest: seconds of sound that may be wanted of one file; a small file can claim years.
    """

    seconds: float = 5.0
    memory_bytes: int = 1 << 30
    longest: float = 3_600.0

    def __post_init__(self) -> None:
        if self.seconds <= 0 or self.memory_bytes <= 0 or self.longest <= 0:
            raise ValueError(f"limits of decoding must be above 0, got {self}")

    def check_length(self, claimed: float) -> None:
        """Raises AudioError where `claimed` seconds of sound are more than the longest clip."""
        if claimed > self.longest:
            size = f"{claimed / 3600:,.1f} hours" if claimed >= 3600 else f"{claimed:.1f} seconds"
            raise AudioError(
                Reason.TOO_LONG,
                f"the file claims {size} and the longest clip let in has {self.longest:g} seconds; raise "
                "longest_clip if it is right, cut the recording, or remove it",
            )

    def too_large(self) -> AudioError:
        """What to say of a file for which the memory does not suffice."""
        return AudioError(
            Reason.TOO_LARGE,
            f"decoding needs over {_gib(self.memory_bytes)}; cut the recording, or remove it",
        )

    def too_slow(self) -> AudioError:
        """What to say of a file for which the time does not suffice."""
        return AudioError(
            Reason.TOO_SLOW, f"decoding took over {self.seconds:g} s; cut the recording, or remove it"
        )


def _gib(size: int) -> str:
    return f"{size / 2**30:.3g} GiB"


class AudioError(ValueError):
    """A recording that cannot be used; `reason` says which kind of trouble, the message what exactly.

    Attributes:
        reason: the `Reason` that reports count by.
        detail: one sentence for a person.
    """

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(
            reason, detail
        )  # both in args, so that the exception survives pickling between workers
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return self.detail


def decode_here(
    path: str | os.PathLike[str], start: float, duration: float | None, limits: Limits
) -> np.ndarray:
    """What `hares.audio.decode` gives, decoded in the calling process, which `limits` do not guard."""
    _check_present(path)
    with _open(path, limits) as sound:
        first, wanted = _frame_range(sound, start, duration)
        limits.check_length(wanted / sound.samplerate)
        waveform = _read(sound, first, wanted)
    if len(waveform) < MIN_SAMPLES:
        raise AudioError(
            Reason.TOO_SHORT,
            f"{len(waveform)} samples at 16 kHz are less than one 25 ms window ({MIN_SAMPLES})",
        )
    return waveform


def seconds_here(path: str | os.PathLike[str], limits: Limits) -> float:
    """What `hares.audio.seconds` gives, read in the calling process, which `limits` do not guard."""
    _check_present(path)
    with _open(path, limits) as sound:
        length = float(sound.frames / sound.samplerate)
    limits.check_length(length)
    return length


def _check_present(path: str | os.PathLike[str]) -> None:
    try:
        size = os.path.getsize(path)
    except OSError as error:
        raise AudioError(Reason.ABSENT, f"the file cannot be found ({error.strerror})") from error
    except ValueError as error:  # a NUL, or half of a surrogate pair
        raise AudioError(Reason.ABSENT, f"no file can have this name ({error})") from error
    if os.path.isdir(path):
        raise AudioError(Reason.UNDECODABLE, "this is a folder, not a recording")
    if not os.path.isfile(path):
        raise AudioError(Reason.UNDECODABLE, "this is a pipe or a device, not a recording")
    if size == 0:
        raise AudioError(Reason.EMPTY, "the file has 0 bytes")


def _open(path: str | os.PathLike[str], limits: Limits) -> soundfile.SoundFile:
    """Opens a recording and holds its header against what can be true."""
    sound = _open_native(path, limits)
    problem = _header_problem(sound.samplerate, sound.channels)
    if problem is not None:
        pass
    elif sound.frames == 0:
        problem = AudioError(Reason.EMPTY, "the file holds 0 samples")
    elif sound.frames > _MAX_FRAMES:
        problem = AudioError(
            Reason.UNDECODABLE, "the header gives no length; encode the file again so that it has one"
        )
    if problem is not None:
        sound.close()
        raise problem
    return sound


def _header_problem(rate: int, channels: int) -> AudioError | None:
    if not _MIN_RATE <= rate <= _MAX_RATE:
        return AudioError(Reason.BAD_HEADER, f"a sample rate of {rate} Hz cannot be right")
    if not 1 <= channels <= _MAX_CHANNELS:
        return AudioError(Reason.BAD_HEADER, f"{channels} channels cannot be right")
    return None


def _refused_wav(path: str | os.PathLike[str]) -> AudioError | None:
    """The header of a WAV that libsndfile refuses without saying what it read there."""
    with open(path, "rb") as file:
        head = file.read(28)
    if len(head) < 28 or head[:4] != b"RIFF" or head[8:16] != b"WAVEfmt ":
        return None
    channels, rate = struct.unpack("<HI", head[22:28])
    return _header_problem(rate, channels)


def _open_native(path: str | os.PathLike[str], limits: Limits) -> soundfile.SoundFile:
    suffix = Path(path).suffix.lower()
    try:
        cut_off = missing_end(path)
        if cut_off is not None:
            raise AudioError(Reason.TRUNCATED, f"{cut_off}; copy or download the file again")
        # As bytes: soundfile encodes a str strictly, and a name need not be UTF-8.
        return soundfile.SoundFile(os.fsencode(path))
    except OSError as error:
        raise AudioError(Reason.UNDECODABLE, f"the file cannot be read ({error.strerror})") from error
    # TypeError: soundfile takes the suffix .raw for headerless samples and asks for a rate.
    except (soundfile.LibsndfileError, TypeError) as error:
        if suffix in FFMPEG_SUFFIXES:
            return _open_through_ffmpeg(path, limits)
        problem = _refused_wav(path)
        if problem is not None:
            raise problem from error
        why = getattr(error, "error_string", str(error))
        raise AudioError(Reason.UNDECODABLE, f"not a recording that can be decoded ({why})") from error


def _open_through_ffmpeg(path: str | os.PathLike[str], limits: Limits) -> soundfile.SoundFile:
    """Decodes to a temporary WAV (native rate and channels) that has no name: a killed decoder leaves none behind."""
    ffmpeg = shutil.which("ffmpeg")
    if ffmpeg is None:
        raise AudioError(
            Reason.UNDECODABLE, f"{Path(path).suffix} needs ffmpeg, which is not on the PATH; install it"
        )
    with tempfile.TemporaryFile(prefix="hares-") as wav:
        command = [ffmpeg, "-v", "error", "-nostdin", "-xerror", "-y", "-threads", "1"]
        command += ["-protocol_whitelist", "file", "-format_whitelist", _DEMUXERS]
        command += ["-i", f"file:{os.fspath(path)}", "-vn", "-t", str(limits.longest + 1)]
        command += ["-c:a", "pcm_f32le", "-f", "wav", f"/dev/fd/{wav.fileno()}"]
        try:
            done = subprocess.run(
                command,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                pass_fds=(wav.fileno(),),
                timeout=limits.seconds,
            )
        except subprocess.TimeoutExpired:
            raise limits.too_slow() from None
        if done.returncode == -signal.SIGXFSZ:
            raise limits.too_large()
        if done.returncode != 0 or os.fstat(wav.fileno()).st_size == 0:
            last = (done.stderr.decode(errors="replace").strip().splitlines() or ["no message"])[-1]
            raise AudioError(Reason.UNDECODABLE, f"ffmpeg cannot decode the file ({last})")
        wav.seek(0)
        return soundfile.SoundFile(os.dup(wav.fileno()), closefd=True)


def _frame_range(sound: soundfile.SoundFile, start: float, duration: float | None) -> tuple[int, int]:
    """First frame and number of frames at the file's own rate."""
    first = round(start * sound.samplerate)
    wanted = sound.frames - first if duration is None else round(duration * sound.samplerate)
    # One frame of slack: a cut's seconds were rounded from another rate's sample count.
    if (first > 0 and first >= sound.frames) or first + wanted > sound.frames + 1:
        raise AudioError(
            Reason.TRUNCATED,
            f"the clip reaches to {(first + wanted) / sound.samplerate:.3f} s and the file has "
            f"{sound.frames / sound.samplerate:.3f} s",
        )
    return first, min(wanted, sound.frames - first)


def _read(sound: soundfile.SoundFile, first: int, wanted: int) -> np.ndarray:
    """Frames [first, first + wanted) as (n,) int16 at 16 kHz."""
    if first:
        sound.seek(first)
    block = max(1, _BLOCK_VALUES // sound.channels)
    # The same samples in the end: libsndfile divides by 2^15 too, but takes seven times as long with a WAV.
    kind = "int16" if sound.subtype == "PCM_16" else "float32"
    # What fits in one block goes through soxr in one call: a quarter less time than a stream, the same samples.
    whole = wanted <= block
    resampler = None
    if sound.samplerate != SAMPLE_RATE and not whole:
        resampler = soxr.ResampleStream(sound.samplerate, SAMPLE_RATE, 1, dtype="float32", quality="HQ")
    parts: list[np.ndarray] = []
    got = 0
    while got < wanted:
        try:
            frames = sound.read(min(block, wanted - got), dtype=kind, always_2d=True)  # (n, channels)
        except soundfile.LibsndfileError as error:
            raise _cut_short(sound, got, wanted) from error
        if len(frames) == 0:
            break
        got += len(frames)
        mono = _mono(frames)
        # NaN and infinity go on into the mean; a sum that overflows does too, and is none of them.
        if kind == "float32" and not np.isfinite(mono).all() and not np.isfinite(frames).all():
            raise AudioError(Reason.NON_FINITE, "the file holds NaN or infinite samples")
        if resampler is not None:
            mono = resampler.resample_chunk(mono)
        parts.append(mono if whole else _to_int16(mono))
    if wanted - got > (_MP3_SLACK if sound.format == "MP3" else 0):
        raise _cut_short(sound, got, wanted)
    if resampler is not None:
        parts.append(_to_int16(resampler.resample_chunk(np.zeros(0, np.float32), last=True)))
    if not parts:
        return np.zeros(0, np.int16)
    joined = parts[0] if len(parts) == 1 else np.concatenate(parts)
    if not whole:
        return joined
    if sound.samplerate != SAMPLE_RATE:
        joined = soxr.resample(joined, sound.samplerate, SAMPLE_RATE, quality="HQ")
    return _to_int16(joined)


def _mono(frames: np.ndarray) -> np.ndarray:
    """The mean of the channels, (n, channels) to (n,) float32 at full scale 1.0, of float32 or of int16.

    By columns: numpy's own mean over two takes 40 times as long. Scaling by a power of two changes no rounding, so it
    can be done last.
    """
    divisor = frames.shape[1]
    if frames.dtype == np.int16:
        divisor *= 32_768
        frames = frames.astype(np.float32)  # at once: a sum of int16 columns takes twice as long
    total = frames[:, 0] if frames.shape[1] == 1 else frames[:, 0] + frames[:, 1]
    for channel in range(2, frames.shape[1]):
        total += frames[:, channel]
    if divisor > 1:
        total /= np.float32(divisor)  # an int of this size would take it through float64
    return total


def _cut_short(sound: soundfile.SoundFile, got: int, wanted: int) -> AudioError:
    return AudioError(
        Reason.TRUNCATED,
        f"decoding stops after {got / sound.samplerate:.3f} s of the {wanted / sound.samplerate:.3f} s that "
        "the header promises: cut short or damaged; copy or download the file again",
    )


def _to_int16(samples: np.ndarray) -> np.ndarray:
    """Full scale 1.0 to 32768, rounded and clipped: 16-bit input at 16 kHz comes back bit for bit."""
    scaled = samples * np.float32(32_768)
    np.rint(scaled, out=scaled)
    return np.clip(scaled, -32_768, 32_767, out=scaled).astype(np.int16)
