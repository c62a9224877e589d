"""What ffmpeg decodes: MP4, WebM, AAC, WMA, AMR, and what libsndfile lacks a codec for.

ffmpeg gets the open file and writes samples to a pipe: no temporary file that a full disk could cut short. It may open
nothing else, by the demuxers of these containers and the audio codecs of these files alone: a play list would lead it
anywhere, and it knows some 500 codecs, of pictures too.
"""

from __future__ import annotations

import errno
import os
import select
import shutil
import signal
import struct
import subprocess

import numpy as np

from hares.decoding.limits import AudioError
from hares.machine import MachineError, machine_error
from hares.task import Reason

_DEMUXERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,asf,aac,amr,mp3,ogg"
_CODECS = (
    "aac,aac_fixed,aac_latm,ac3,ac3_fixed,eac3,alac,als,amrnb,amrwb,dca,flac,g723_1,gsm,gsm_ms,ilbc,libopus,libvorbis,"
    "libspeex,mlp,mp1,mp1float,mp2,mp2float,mp3,mp3float,mp3adu,mp3adufloat,mp3on4,mp3on4float,opus,qcelp,qdm2,qdmc,"
    "speex,truehd,tta,vorbis,wavpack,wmalossless,wmapro,wmav1,wmav2,wmavoice,adpcm_ima_qt,adpcm_ima_wav,adpcm_ms,"
    "pcm_alaw,pcm_mulaw,pcm_f32be,pcm_f32le,pcm_f64be,pcm_f64le,pcm_s16be,pcm_s16le,pcm_s24be,pcm_s24le,pcm_s32be,"
    "pcm_s32le,pcm_s8,pcm_u8"
)
_READ = 1 << 16
_MOST_SAID = 1 << 14
# What ffmpeg says of the machine. "Input/output error" is not among them: it says so of broken files as well.
_OF_THE_MACHINE = (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.EACCES, errno.EROFS, errno.ESTALE,
                   errno.ETXTBSY)  # fmt: skip
_CRASHES = (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGILL, signal.SIGFPE)


class FfmpegSound:
    """A recording that ffmpeg decodes as it is read, at its own rate, with its own channels.

    Args:
        descriptor: the open file.
        suffix: of its name, for the message if there is no ffmpeg.
        longest: seconds after which ffmpeg stops.

    Attributes:
        rate, channels: of what it decodes.

    Raises:
        AudioError: ffmpeg is not installed, or cannot decode the file.
        MachineError: ffmpeg cannot work.
    """

    def __init__(self, descriptor: int, suffix: str, longest: float) -> None:
        ffmpeg = shutil.which("ffmpeg")
        if ffmpeg is None:
            detail = f"{suffix or 'the file'} needs ffmpeg, which is not on the PATH; install it"
            raise AudioError(Reason.NEEDS_FFMPEG, detail)
        command = [ffmpeg, "-v", "error", "-nostdin", "-xerror", "-y", "-threads", "1"]
        command += [
            "-protocol_whitelist",
            "file",
            "-format_whitelist",
            _DEMUXERS,
            "-codec_whitelist",
            _CODECS,
        ]
        command += ["-i", f"file:/dev/fd/{descriptor}", "-vn", "-sn", "-dn", "-t", str(longest + 1)]
        command += ["-map_metadata", "-1", "-c:a", "pcm_f32le", "-f", "wav", "/dev/stdout"]
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=(descriptor,),
                bufsize=0,
            )
        except OSError as error:
            raise machine_error(error, f"{ffmpeg} cannot be started") from error
        assert self._process.stdout is not None and self._process.stderr is not None
        self._out, self._err = self._process.stdout.fileno(), self._process.stderr.fileno()
        self._ahead, self._said, self._open = bytearray(), bytearray(), {self._out, self._err}
        self.rate, self.channels = self._header()

    def read(self, count: int) -> np.ndarray:
        """The next frames, (n, channels) float32; fewer than `count` at the end, where it is seen how ffmpeg ended.

        Raises:
            AudioError: ffmpeg gave up on the file.
            MachineError: ffmpeg was kept from its work.
        """
        width = 4 * self.channels
        self._fill(count * width)
        whole = min(count, len(self._ahead) // width) * width
        frames = np.frombuffer(bytes(self._ahead[:whole]), "<f4").reshape(-1, self.channels)
        del self._ahead[:whole]
        if len(frames) < count:
            self._check_end()
        return frames.astype(np.float32, copy=False)

    def close(self) -> None:
        """Ends ffmpeg."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()

    def _header(self) -> tuple[int, int]:
        """Rate and channels, from the WAV header that comes before the samples."""
        position, rate, channels = 12, 0, 0
        while True:
            self._fill(position + 8)
            if len(self._ahead) < position + 8:
                try:
                    self._check_end()
                finally:
                    self.close()
                raise AudioError(Reason.UNDECODABLE, "ffmpeg finds no sound in the file")
            name, length = struct.unpack("<4sI", self._ahead[position : position + 8])
            position += 8
            if name == b"data":
                break
            self._fill(position + length)
            if name == b"fmt " and len(self._ahead) >= position + 8:
                channels, rate = struct.unpack("<2xHI", self._ahead[position : position + 8])
            position += length + (length & 1)
        del self._ahead[:position]
        return rate, channels

    def _fill(self, wanted: int) -> None:
        """Reads until `wanted` bytes have come, or ffmpeg has closed its output."""
        poll = select.poll()
        for pipe in self._open:
            poll.register(pipe, select.POLLIN)
        while self._out in self._open and len(self._ahead) < wanted:
            for pipe, _ in poll.poll():
                data = os.read(pipe, _READ)
                if pipe == self._out:
                    self._ahead += data
                else:
                    self._said += data
                    del self._said[:-_MOST_SAID]
                if not data:
                    poll.unregister(pipe)
                    self._open.discard(pipe)

    def _check_end(self) -> None:
        """Raises what ffmpeg's end means, once its output has ended."""
        while self._err in self._open:
            data = os.read(self._err, _READ)
            self._said += data
            if not data:
                self._open.discard(self._err)
        code = self._process.wait()
        if code == 0:
            return
        said = (self._said.decode(errors="replace").strip().splitlines() or ["no message"])[-1]
        if code < 0 and -code not in _CRASHES:
            ended = signal.Signals(-code).name
            raise MachineError(
                errno.ENOMEM if -code == signal.SIGKILL else 0,
                f"ffmpeg was ended by {ended}, as a machine short of memory does; free memory, then run the same "
                "command again",
            )
        if code < 0:
            raise AudioError(Reason.DECODER_DIED, f"ffmpeg died on this file ({signal.Signals(-code).name})")
        for number in _OF_THE_MACHINE:
            if os.strerror(number) in said:
                raise machine_error(OSError(number, said), "ffmpeg cannot work")
        if code in (126, 127):  # a shell's and the loader's: a library of its own is missing
            raise MachineError(0, f"ffmpeg does not work ({said}); install it again")
        if os.strerror(errno.ENOMEM) in said:
            raise MemoryError
        raise AudioError(Reason.UNDECODABLE, f"ffmpeg cannot decode the file ({said})")
