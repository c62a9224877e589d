"""What one recording may cost, and what is said of one that cannot be used."""

from __future__ import annotations

from dataclasses import dataclass

from hares.task import Reason


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
