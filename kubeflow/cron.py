"""Checks a cron expression of the usual five fields before it is sent to a cluster.

Users write Sunday as 0 or 7; Kubeflow's parser (robfig/cron 1.2.0) knows only 0, so 7 is rewritten. In front of the
fields Vertex takes a time zone, `TZ=Europe/Berlin` or `CRON_TZ=Europe/Berlin`; that parser would take it for a field.
"""

from __future__ import annotations

import re
from zoneinfo import available_timezones

# Minute, hour, day of month, month, day of week (both 0 and 7 are Sunday).
_FIELDS = (
    ("minute", 0, 59),
    ("hour", 0, 23),
    ("day of month", 1, 31),
    ("month", 1, 12),
    ("day of week", 0, 7),
)
_PART = re.compile(r"(?:\*|(\d+)(?:-(\d+))?)(?:/(\d+))?", re.ASCII)


def checked_cron(text: str, target: str) -> str:
    """The expression with single spaces, Sunday as 0.

    Args:
        text: as the user wrote it.
        target: "kubeflow" or "vertex".

    Raises:
        ValueError: not five fields of `*`, numbers, ranges and steps within their bounds, or a time zone that the
            target does not take.
    """
    fields = text.split()
    zone = fields.pop(0) if fields and "=" in fields[0] else ""
    if zone:
        _check_zone(text, zone, target)
    if len(fields) != len(_FIELDS):
        raise ValueError(
            f"--cron {text!r} has {len(fields)} fields; accepted are 5: minute, hour, day of month, month, day of week"
        )
    for field, (name, low, high) in zip(fields, _FIELDS, strict=True):
        for part in field.split(","):
            match = _PART.fullmatch(part)
            numbers = [int(number) for number in (match[1], match[2]) if number] if match else []
            good = match and all(low <= number <= high for number in numbers) and numbers == sorted(numbers)
            if not good or (match and match[3] and not 1 <= int(match[3]) <= high):
                raise ValueError(
                    f"--cron {text!r}: {part!r} is not a valid {name}; accepted are {low} to {high}, *, a-b and /step"
                )
    fields[-1] = ",".join(dict.fromkeys(_with_sunday_as_0(part) for part in fields[-1].split(",")))
    return " ".join([zone, *fields] if zone else fields)


def _check_zone(text: str, zone: str, target: str) -> None:
    variable, _, name = zone.partition("=")
    if target == "kubeflow":
        raise ValueError(
            f"--cron {text!r}: Kubeflow takes no time zone with a schedule; set CRON_SCHEDULE_TIMEZONE in its "
            "ml-pipeline-scheduledworkflow deployment, for all schedules"
        )
    zones = available_timezones()  # empty on a machine without the database; Vertex then judges
    if variable not in ("TZ", "CRON_TZ") or (zones and name not in zones):
        raise ValueError(
            f"--cron {text!r}: {zone!r} is no time zone; accepted are TZ= and CRON_TZ= with a name of the IANA "
            "database, as in TZ=Europe/Berlin"
        )


def _with_sunday_as_0(part: str) -> str:
    match = _PART.fullmatch(part)
    if match is None or "7" not in (match[1], match[2]):
        return part
    first, step = int(match[1]), int(match[3] or 1)
    days = range(first, 8, step) if match[2] else [first]
    return ",".join(str(day % 7) for day in days)
