"""Checks a cron expression of the usual five fields before a cluster is asked to run by it."""

from __future__ import annotations

import re

# Minute, hour, day of month, month, day of week (both 0 and 7 are Sunday).
_FIELDS = (
    ("minute", 0, 59),
    ("hour", 0, 23),
    ("day of month", 1, 31),
    ("month", 1, 12),
    ("day of week", 0, 7),
)
_PART = re.compile(r"(?:\*|(\d+)(?:-(\d+))?)(?:/(\d+))?")


def checked_cron(text: str) -> str:
    """The expression with single spaces.

    Raises:
        ValueError: not five fields of `*`, numbers, ranges and steps within their bounds.
    """
    fields = text.split()
    if len(fields) != len(_FIELDS):
        raise ValueError(
            f"--cron {text!r} has {len(fields)} fields; it takes 5: minute, hour, day of month, month, day of week"
        )
    for field, (name, low, high) in zip(fields, _FIELDS, strict=True):
        for part in field.split(","):
            match = _PART.fullmatch(part)
            numbers = [int(number) for number in (match[1], match[2]) if number] if match else []
            good = match and all(low <= number <= high for number in numbers) and numbers == sorted(numbers)
            if not good or (match and match[3] and not 1 <= int(match[3]) <= high):
                raise ValueError(
                    f"--cron {text!r}: {part!r} is no {name}; it takes {low} to {high}, *, a-b and /step"
                )
    return " ".join(fields)
