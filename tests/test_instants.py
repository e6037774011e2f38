"""Instants: what is accepted, what it means, and that nothing comes in that cannot be read back.

It must not know who uses them.
"""

import math
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable_tasks import NewTask
from durable_tasks.durations import LONGEST
from durable_tasks.errors import InvalidInput
from durable_tasks.instants import FARTHEST_NUMBER, parse_instant, seconds_at, utc

NOON = datetime(2027, 1, 15, 8, tzinfo=UTC)
EAST, WEST = timezone(timedelta(hours=14)), timezone(timedelta(hours=-14))


@pytest.mark.parametrize(
    ("value", "meant"),
    [
        (NOON, NOON), ("2027-01-15T08:00:00Z", NOON), ("2027-01-15T22:00:00+14:00", NOON), (60, 60.0), (1.5, 1.5),
        ("60", 60.0), ("1h30m", 5400.0), ("PT90S", 90.0), (timedelta(days=4000), 345600000.0), ("4000d", 345600000.0),
        (FARTHEST_NUMBER, FARTHEST_NUMBER),
        ("9999-12-31T23:59:59.9999Z", datetime(9999, 12, 31, 23, 59, 59, 999900, UTC)),
        (datetime.min.replace(tzinfo=UTC), datetime.min.replace(tzinfo=UTC)),
    ],
)  # fmt: skip
def test_what_instants_mean(value: Any, meant: datetime | float) -> None:
    assert parse_instant(value) == meant


OUTSIDE = [
    datetime.max.replace(tzinfo=UTC), datetime.max.replace(tzinfo=WEST), datetime.min.replace(tzinfo=EAST),
    "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "9999-12-31T23:59:59.9999999Z",
    "9999-12-31T23:59:59.999993Z",
]  # fmt: skip


@pytest.mark.parametrize("value", OUTSIDE)
def test_what_no_datetime_could_say_again_is_refused(value: Any) -> None:
    with pytest.raises(InvalidInput, match="outside of the years 1 to 9999"):
        parse_instant(value)


@pytest.mark.parametrize(
    "value",
    [
        True, None, [], b"1h", "", "soon", "2027-01-15T08:00:00", "2027-01-15", datetime(2027, 1, 1), -1, "-1",
        math.nan, math.inf, "nan", "Infinity", 10**400, -(10**400), "1" * 400, LONGEST + 1, "\ud800",
        "10000-01-01T00:00:00Z",
    ],
)  # fmt: skip
def test_what_is_no_instant_is_refused(value: Any) -> None:
    with pytest.raises(InvalidInput):
        parse_instant(value)


def test_a_number_too_long_to_be_written_is_refused() -> None:
    with pytest.raises(InvalidInput, match="<int that cannot be shown>"):
        parse_instant(10**5000)


@pytest.mark.parametrize("field", ["not_before", "deadline"])
@pytest.mark.parametrize("value", [1_800_000_000, 1_800_000_000.0, "1800000000", "1.8e9", 1_800_000_000_000])
def test_a_unix_timestamp_is_refused_with_the_datetime_it_means(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=r'seconds from now.*more than ten years.*"2027-01-15T08:00:00Z"'):
        NewTask(name="x", **{field: value})


@pytest.mark.parametrize("value", [90, 90.0, "90", "1m30s", timedelta(seconds=90)])
def test_a_bare_number_means_the_same_in_both_fields(value: Any) -> None:
    new = NewTask(name="x", not_before=value, deadline=value)
    assert (new.not_before, new.deadline) == (90.0, 90.0)


@pytest.mark.parametrize("seconds", [math.inf, -math.inf, 1e300, 253402300800.0, -62135596801.0])
def test_what_an_earlier_version_stored_is_shown_at_the_edge(seconds: float) -> None:
    assert utc(seconds).year == (9999 if seconds > 0 else 1)


def test_what_evaded_the_model_is_refused_where_it_would_be_stored() -> None:
    for moment in (datetime.max.replace(tzinfo=UTC), math.inf, math.nan, -1e300):
        with pytest.raises(InvalidInput, match="outside of the years"):
            seconds_at(moment, 1.8e9)


OFFSETS = st.timedeltas(timedelta(hours=-23, minutes=-59), timedelta(hours=23, minutes=59)).map(timezone)


@given(
    st.one_of(
        st.datetimes(timezones=OFFSETS), st.datetimes().map(lambda one: f"{one.isoformat()}+14:00"),
        st.text(max_size=20), st.floats(), st.integers(), st.integers(10**300, 10**320), st.timedeltas(),
        st.booleans(), st.none(), st.binary(max_size=4), st.decimals(), st.lists(st.integers(), max_size=1),
    )
)  # fmt: skip
def test_anything_is_an_instant_that_can_be_read_back_or_refused(value: Any) -> None:
    try:
        moment = parse_instant(value)
    except InvalidInput:
        return
    seconds = seconds_at(moment, 1.8e9)
    assert seconds is not None
    read = utc(seconds)
    if isinstance(moment, datetime):
        assert abs((read - moment).total_seconds()) < 1e-4


def test_a_moment_is_shown_as_people_write_it() -> None:
    moment = datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=timezone(timedelta(hours=-1)))
    with pytest.raises(InvalidInput, match=r"^9999-12-31T23:59:59\.999999-01:00 is outside"):
        parse_instant(moment)
