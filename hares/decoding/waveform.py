"""The decoding itself: any recording to 16 kHz mono 16-bit samples (paper section 3: "a waveform sampled at 16kHz").

A file's first bytes say what it is, not its name (`hares.decoding.containers`). soundfile reads WAV, FLAC, Ogg, MP3
and their kin of any rate, depth and number of channels; ffmpeg, if it is on the PATH, reads MP4, WebM, AAC and what
else soundfile lacks (`hares.decoding.ffmpeg`). Channels are averaged, soxr (HQ) resamples, and the result is rounded
and clipped to int16.

A file is decoded to its end, whatever a header claims, and opened once: what is decoded is what was looked at. It is
read in blocks, so memory grows with the sound that is wanted and not with what a header claims.

This module is called in the decoder's own process only (`hares.decoding.worker`), since its libraries are C code
that reads bytes from anywhere; everyone else calls `hares.decoding`. It imports neither TensorFlow nor Beam.
"""

from __future__ import annotations

import errno
import os
import stat
import struct
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import soundfile
import soxr

from hares.decoding.containers import examine
from hares.decoding.ffmpeg import FfmpegSound
from hares.decoding.file_bytes import Container, FileBytes, Part, PartFile
from hares.decoding.limits import AudioError, Limits
from hares.machine import MachineError, is_of_the_machine, machine_error
from hares.task import SAMPLE_RATE, Reason

MIN_SAMPLES = 400  # one analysis window of 25 ms

# What a data set's folder is searched for; what is under these names may be any of the containers.
SOUNDFILE_SUFFIXES = frozenset((".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff"))
FFMPEG_SUFFIXES = frozenset((".m4a", ".mp4", ".aac", ".webm", ".mka", ".mkv", ".wma", ".amr", ".3gp"))

_BLOCK_VALUES = 1 << 20  # samples times channels decoded at once: 4 MiB of float32
_MIN_RATE, _MAX_RATE = 2_000, 768_000  # outside, a header lies: 1 Hz would make 16,000 samples out of one
_MAX_CHANNELS = 64  # ambisonics of the seventh order
_MAX_FRAMES = 1 << 40  # FLAC written to a pipe says 2^63 - 1: no length at all
# An MP3 header counts whole frames of 1,152 samples, and encoders disagree whether the Xing frame is one of
# them.
_MP3_SLACK = 2 * 1_152
_SYSTEM_ERROR = 2  # libsndfile's number for "the system could not read it"
_FAULTS_OF_BYTES = (Reason.EMPTY, Reason.UNDECODABLE, Reason.TRUNCATED, Reason.TOO_SHORT, Reason.NON_FINITE)


class _NativeSound:
    """A file, or a part of one, that soundfile decodes.

    Attributes:
        rate, channels: of the file.
        frames: by its header, None where that gives no length.
        form: libsndfile's name of the container.
    """

    def __init__(self, descriptor: int, part: Part | None) -> None:
        self._part = None if part is None else PartFile(descriptor, part)
        os.lseek(descriptor, 0, os.SEEK_SET)
        self._sound = soundfile.SoundFile(self._part or descriptor, closefd=False)
        self.rate, self.channels = self._sound.samplerate, self._sound.channels
        self.frames = self._sound.frames if self._sound.frames <= _MAX_FRAMES else None
        self.form = self._sound.format
        # The same samples in the end: libsndfile divides by 2^15 too, but takes seven times as long with a WAV.
        self._kind = "int16" if self._sound.subtype == "PCM_16" else "float32"

    def skip(self, count: int) -> None:
        self._sound.seek(count)

    def read(self, count: int) -> np.ndarray:
        """The next frames, (n, channels); fewer than `count` at the end, or where the bytes make no sense."""
        try:
            return self._sound.read(count, dtype=self._kind, always_2d=True)
        except soundfile.LibsndfileError as error:
            if error.code == _SYSTEM_ERROR:
                raise OSError(errno.EIO, str(error)) from error
            if "malloc" in str(error).lower():
                raise MemoryError from error
            if self.frames is None:
                raise AudioError(
                    Reason.TRUNCATED, f"decoding stops before the end of the file ({error})"
                ) from error
            return np.zeros((0, self.channels), self._kind)
        finally:
            if self._part is not None and self._part.error is not None:
                raise self._part.error

    def close(self) -> None:
        self._sound.close()


class _DecodedSound(FfmpegSound):
    """A file that ffmpeg decodes; its length is known at the end."""

    frames = None
    form = ""

    def skip(self, count: int) -> None:
        while count > 0 and (got := len(self.read(min(count, _BLOCK_VALUES // self.channels)))):
            count -= got


_Sound = _NativeSound | _DecodedSound


def decode_here(
    path: str | os.PathLike[str], start: float, duration: float | None, limits: Limits
) -> np.ndarray:
    """What `hares.decoding.decode` gives, decoded in the calling process, which `limits` do not guard."""
    with _opened(path) as descriptor:
        container = _examined(descriptor)
        waveform = _decode(descriptor, Path(path).suffix.lower(), container, start, duration, limits)
    if len(waveform) < MIN_SAMPLES:
        raise AudioError(
            Reason.TOO_SHORT,
            f"{len(waveform)} samples at 16 kHz are less than one 25 ms window ({MIN_SAMPLES})",
        )
    return waveform


def seconds_here(path: str | os.PathLike[str], limits: Limits) -> float:
    """What `hares.decoding.seconds` gives, read in the calling process, which `limits` do not guard."""
    with _opened(path) as descriptor:
        container, suffix = _examined(descriptor), Path(path).suffix.lower()
        length = 0.0
        for part in container.parts or (None,):
            with closing(_sound(descriptor, suffix, container, part, limits)) as sound:
                if sound.frames is None:
                    length += len(_read(sound, None, limits)) / SAMPLE_RATE
                else:
                    length += sound.frames / sound.rate
    limits.check_length(length)
    return length


@contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[int]:
    """The recording's descriptor; what the machine does while it is read is a MachineError."""
    descriptor = _open(path)
    try:
        try:
            yield descriptor
        except AudioError as error:
            if error.reason in _FAULTS_OF_BYTES:
                _read_all(descriptor)  # bytes that the disk does not give are no fault of the file
            raise
    except MachineError as error:
        raise MachineError(error.errno or 0, f"{os.fspath(path)}: {error}") from error
    except OSError as error:
        raise machine_error(error, f"{os.fspath(path)} cannot be read") from error
    finally:
        os.close(descriptor)


def _open(path: str | os.PathLike[str]) -> int:
    """Opens a recording, once and for all: links are resolved first, and none is followed on opening.

    Raises:
        AudioError: no file can be, or is, of this name, or it is no regular file.
        MachineError: the file is there and the machine does not let it be opened.
    """
    try:
        # In two steps, so that a pipe is not opened at all: that could wait for ever.
        place = os.path.realpath(path)
        _check_regular(os.stat(place))
        descriptor = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if is_of_the_machine(error):
            raise machine_error(error, f"{os.fspath(path)} cannot be read") from error
        raise AudioError(Reason.ABSENT, f"the file cannot be found ({error.strerror})") from error
    except ValueError as error:  # a NUL, or half of a surrogate pair; an AudioError is one, too
        if isinstance(error, AudioError):
            raise
        raise AudioError(Reason.ABSENT, f"no file can have this name ({error})") from error
    try:
        status = os.fstat(descriptor)
        _check_regular(status)
        if status.st_size == 0:
            raise AudioError(Reason.EMPTY, "the file has 0 bytes")
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _check_regular(status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise AudioError(Reason.UNDECODABLE, "this is a folder, not a recording")
    if not stat.S_ISREG(status.st_mode):
        raise AudioError(Reason.UNDECODABLE, "this is a pipe or a device, not a recording")


def _read_all(descriptor: int) -> None:
    data, position = FileBytes(descriptor), 0
    while block := data.at(position, 1 << 20):
        position += len(block)


def _examined(descriptor: int) -> Container:
    container = examine(descriptor)
    if container.missing is not None:
        raise AudioError(Reason.TRUNCATED, f"{container.missing}; copy or download the file again")
    return container


def _decode(
    descriptor: int, suffix: str, container: Container, start: float, duration: float | None, limits: Limits
) -> np.ndarray:
    if len(container.parts) > 1:  # each has a rate of its own, so that a place in them is one at 16 kHz
        waveform = np.concatenate(
            [_whole(descriptor, suffix, container, part, limits) for part in container.parts]
        )
        limits.check_length(len(waveform) / SAMPLE_RATE)
        if not start and duration is None:
            return waveform
        first, wanted = _frame_range(len(waveform), SAMPLE_RATE, start, duration)
        return waveform[first : None if wanted is None else first + wanted]
    part = container.parts[0] if container.parts else None
    if not start and duration is None:
        return _whole(descriptor, suffix, container, part, limits)
    with closing(_sound(descriptor, suffix, container, part, limits)) as sound:
        first, wanted = _frame_range(sound.frames, sound.rate, start, duration)
        if wanted is not None:
            limits.check_length(wanted / sound.rate)
        if first:
            sound.skip(first)
        return _read(sound, wanted, limits)


def _whole(
    descriptor: int, suffix: str, container: Container, part: Part | None, limits: Limits
) -> np.ndarray:
    """All the sound of a file, or of a part of one."""
    with closing(_sound(descriptor, suffix, container, part, limits)) as sound:
        waveform = _read(sound, sound.frames, limits)
    if container.seconds is None:
        return waveform
    length = len(waveform) / SAMPLE_RATE
    if container.seconds - length <= container.slack:
        return waveform
    raise AudioError(
        Reason.TRUNCATED,
        f"{length:.3f} s can be decoded of the {container.seconds:.3f} s in the file: cut short or damaged; copy or "
        "download the file again",
    )


def _sound(descriptor: int, suffix: str, container: Container, part: Part | None, limits: Limits) -> _Sound:
    """Opens what is in a recording and holds its header against what can be true."""
    sound = _open_sound(descriptor, suffix, container, part, limits)
    problem = _header_problem(sound.rate, sound.channels)
    if problem is None and sound.frames == 0:
        problem = AudioError(Reason.EMPTY, "the file holds 0 samples")
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


def _refused_wav(descriptor: int) -> AudioError | None:
    """The header of a WAV that libsndfile refuses without saying what it read there."""
    head = FileBytes(descriptor).at(0, 28)
    if len(head) < 28 or head[:4] != b"RIFF" or head[8:16] != b"WAVEfmt ":
        return None
    channels, rate = struct.unpack("<HI", head[22:28])
    return _header_problem(rate, channels)


def _open_sound(
    descriptor: int, suffix: str, container: Container, part: Part | None, limits: Limits
) -> _Sound:
    if container.demuxer:
        return _DecodedSound(descriptor, suffix, limits.longest)
    try:
        sound = _NativeSound(descriptor, part)
        if container.counted is None or container.seconds is None:
            return sound
        # An MP3: libsndfile reads no more than the number of samples that it believes there are.
        surplus = (sound.frames or 0) / sound.rate - container.seconds
        if -container.slack <= surplus <= _MP3_SLACK / sound.rate:
            return sound
        sound.close()
        return _NativeSound(descriptor, container.counted)
    except soundfile.LibsndfileError as error:
        if error.code == _SYSTEM_ERROR:
            raise OSError(errno.EIO, str(error)) from error
        if suffix in FFMPEG_SUFFIXES:
            return _DecodedSound(descriptor, suffix, limits.longest)
        if "malloc" in str(error).lower():
            raise MemoryError from error
        problem = _refused_wav(descriptor)
        if problem is not None:
            raise problem from error
        why = error.error_string
        raise AudioError(Reason.UNDECODABLE, f"not a recording that can be decoded ({why})") from error


def _frame_range(
    frames: int | None, rate: int, start: float, duration: float | None
) -> tuple[int, int | None]:
    """First frame and number of frames at the file's own rate; None for all that follow, where none knows how many."""
    first = round(start * rate)
    wanted = None if duration is None else round(duration * rate)
    if frames is None:
        return first, wanted
    if wanted is None:
        wanted = frames - first
    # One frame of slack: a cut's seconds were rounded from another rate's sample count.
    if (first > 0 and first >= frames) or first + wanted > frames + 1:
        raise AudioError(
            Reason.TRUNCATED,
            f"the clip reaches to {(first + wanted) / rate:.3f} s and the file has {frames / rate:.3f} s",
        )
    return first, min(wanted, frames - first)


def _read(sound: _Sound, wanted: int | None, limits: Limits) -> np.ndarray:
    """The next `wanted` frames, or all that follow, as (n,) int16 at 16 kHz."""
    if wanted is not None:
        limits.check_length(wanted / sound.rate)
    block = max(1, _BLOCK_VALUES // sound.channels)
    # What fits in one block goes through soxr in one call: a quarter less time than a stream, the same samples.
    whole = wanted is not None and wanted <= block
    resampler = None
    if sound.rate != SAMPLE_RATE and not whole:
        resampler = soxr.ResampleStream(sound.rate, SAMPLE_RATE, 1, dtype="float32", quality="HQ")
    parts: list[np.ndarray] = []
    got = 0
    while wanted is None or got < wanted:
        frames = sound.read(block if wanted is None else min(block, wanted - got))
        if len(frames) == 0:
            break
        got += len(frames)
        if wanted is None:
            limits.check_length(got / sound.rate)
        mono = _mono(frames)
        # NaN and infinity go on into the mean; a sum that overflows does too, and is none of them.
        if frames.dtype == np.float32 and not np.isfinite(mono).all() and not np.isfinite(frames).all():
            raise AudioError(Reason.NON_FINITE, "the file holds NaN or infinite samples")
        if resampler is not None:
            mono = resampler.resample_chunk(mono)
        parts.append(mono if whole else _to_int16(mono))
    if wanted is not None and wanted - got > (_MP3_SLACK if sound.form == "MP3" else 0):
        raise AudioError(
            Reason.TRUNCATED,
            f"decoding stops after {got / sound.rate:.3f} s of the {wanted / sound.rate:.3f} s that the header "
            "promises: cut short or damaged; copy or download the file again",
        )
    if resampler is not None:
        parts.append(_to_int16(resampler.resample_chunk(np.zeros(0, np.float32), last=True)))
    if not parts:
        return np.zeros(0, np.int16)
    joined = parts[0] if len(parts) == 1 else np.concatenate(parts)
    if not whole:
        return joined
    if sound.rate != SAMPLE_RATE:
        joined = soxr.resample(joined, sound.rate, SAMPLE_RATE, quality="HQ")
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


def _to_int16(samples: np.ndarray) -> np.ndarray:
    """Full scale 1.0 to 32768, rounded and clipped: 16-bit input at 16 kHz comes back bit for bit."""
    scaled = samples * np.float32(32_768)
    np.rint(scaled, out=scaled)
    return np.clip(scaled, -32_768, 32_767, out=scaled).astype(np.int16)
