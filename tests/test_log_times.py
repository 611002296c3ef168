"""Moments as people write them."""

import string
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.errors import ConfigError
from streamer.log.times import moment, span

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC).timestamp()
ZONES = st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
DATES = st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1))  # noqa: DTZ001 - zones are added


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("30m", 1800), ("2h", 7200), ("3d", 259_200), ("1.5 H", 5400), (" 0s ", 0)]
)
def test_so_long_ago(text: str, seconds: float) -> None:
    assert moment(text, NOW) == NOW - seconds


@pytest.mark.parametrize(
    "text",
    ["2026-11-25T12:00:00Z", "2026-11-25t12:00:00z", "2026-11-25T13:00+01:00", "2026-11-25 12:00", "20261125T12"],
)
def test_the_same_moment_in_other_words(text: str) -> None:
    assert moment(text, 0.0) == NOW


def test_a_day_begins_at_midnight_utc() -> None:
    assert moment("2026-11-25", 0.0) == NOW - 43_200


@given(DATES, ZONES)
def test_every_time_is_understood_with_its_zone(date: datetime, zone: timezone) -> None:
    at = date.replace(tzinfo=zone)
    assert moment(at.isoformat(), NOW) == at.timestamp()
    assert moment(date.isoformat(" "), NOW) == date.replace(tzinfo=UTC).timestamp()


@given(st.text() | st.text(string.digits + string.ascii_letters + "-:+.TZ ", max_size=30))
def test_anything_else_is_an_error_with_a_hint(text: str) -> None:
    try:
        moment(text, NOW)
    except ConfigError as error:
        assert "30m" in error.hint  # noqa: PT017 - most texts are no moments, some are


@pytest.mark.parametrize("text", ["", "yesterday", "-2h", "2w", "2026-13-01", "2026", "1e3s", "NaN", "٣h"])
def test_these_are_no_moments(text: str) -> None:
    with pytest.raises(ConfigError, match="no point in time"):
        moment(text, NOW)


def test_a_span_ends_after_it_begins() -> None:
    assert 5.0 in span(None, None, NOW)
    only = span("2h", "1h", NOW)
    assert [at in only for at in (NOW - 7201, NOW - 7200, NOW - 3601, NOW - 3600)] == [False, True, True, False]
    with pytest.raises(ConfigError, match="is not before"):
        span("1h", "2h", NOW)
