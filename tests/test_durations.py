"""Durations: what is accepted, what it means, and what is refused with the value named.

It must not know who uses them.
"""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable_tasks.durations import LONGEST, parse_duration
from durable_tasks.errors import InvalidInput

UNITS = {"w": 604800, "d": 86400, "h": 3600, "m": 60, "s": 1, "ms": 0.001}


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (0, 0), (90, 90), (1.5, 1.5), ("90", 90), (" 90 ", 90), ("1.5", 1.5), (timedelta(minutes=2), 120),
        ("1h30m", 5400), ("2w", 1209600), ("1d", 86400), ("250ms", 0.25), ("1m250ms", 60.25), ("1.5h", 5400),
        ("PT1H30M", 5400), ("PT90S", 90), ("P1DT1S", 86401), ("P2W", 1209600), ("PT0.5S", 0.5), ("PT0S", 0),
    ],
)  # fmt: skip
def test_what_durations_mean(value: Any, seconds: float) -> None:
    assert parse_duration(value) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "value",
    [
        "", "soon", "1 h", "5m1h", "5m5m", "1h30", "h", "P", "PT", "P1M", "P1Y", "1h\n30m", "-1", -1, "-1h",
        float("nan"), float("inf"), "nan", "inf", "1e400", True, False, None, [], b"1h", LONGEST + 1,
        timedelta(seconds=-1), "36501d",
    ],
)  # fmt: skip
def test_what_is_no_duration_is_named(value: Any) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_duration(value)
    assert repr(value) in caught.value.message


@given(st.dictionaries(st.sampled_from(list(UNITS)), st.integers(0, 500), min_size=1))
def test_parts_add_up(parts: dict[str, int]) -> None:
    chosen = [unit for unit in UNITS if unit in parts]
    text = "".join(f"{parts[unit]}{unit}" for unit in chosen)
    assert parse_duration(text) == pytest.approx(sum(parts[unit] * UNITS[unit] for unit in chosen))


@given(st.floats(0, LONGEST))
def test_seconds_are_seconds_in_every_form(seconds: float) -> None:
    assert parse_duration(seconds) == parse_duration(repr(seconds)) == seconds
    assert parse_duration(timedelta(seconds=seconds)) == pytest.approx(seconds, abs=1e-6)


@given(st.one_of(st.text(max_size=12), st.floats(), st.integers(), st.booleans(), st.none(), st.binary(max_size=4)))
def test_anything_is_a_duration_or_refused(value: Any) -> None:
    try:
        seconds = parse_duration(value)
    except InvalidInput:
        return
    assert 0 <= seconds <= LONGEST
