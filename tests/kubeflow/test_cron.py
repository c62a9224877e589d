"""Time zones in front of a cron expression; the fields themselves are tested with the command that takes them."""

from __future__ import annotations

import pytest

from kubeflow.cron import checked_cron


@pytest.mark.parametrize("zone", ["TZ=Europe/Berlin", "CRON_TZ=America/Argentina/Buenos_Aires", "TZ=UTC"])
def test_vertex_takes_a_time_zone(zone: str) -> None:
    assert checked_cron(f"{zone}  0 3 * * 7", "vertex") == f"{zone} 0 3 * * 0"


@pytest.mark.parametrize("zone", ["TZ=Europe/Berlim", "TZ=", "ZONE=Europe/Berlin", "CRON_TZ=+01:00"])
def test_what_is_no_time_zone_is_refused(zone: str) -> None:
    with pytest.raises(ValueError, match="is no time zone; accepted are TZ= and CRON_TZ="):
        checked_cron(f"{zone} 0 3 * * *", "vertex")


def test_kubeflow_has_one_time_zone_for_all() -> None:
    """Its parser (robfig/cron 1.2.0) would count the zone as a field."""
    with pytest.raises(ValueError, match="CRON_SCHEDULE_TIMEZONE"):
        checked_cron("TZ=Europe/Berlin 0 3 * * *", "kubeflow")


def test_a_time_zone_is_none_of_the_five_fields() -> None:
    with pytest.raises(ValueError, match="has 4 fields"):
        checked_cron("TZ=UTC 3 * * *", "vertex")
