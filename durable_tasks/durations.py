"""Durations: "1h30m", ISO 8601 or seconds in; float seconds out.

It must not know clocks, tasks or settings.
"""

import math
import re
from datetime import timedelta
from itertools import pairwise
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from durable_tasks.errors import InvalidInput
from durable_tasks.wording import shown

DurationLike = float | int | str | timedelta

_SECONDS = {"w": 604800.0, "d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|[wdhms])")
_HUMAN = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|[wdhms]))+")
_ISO = re.compile(
    r"P(?:(?P<w>\d+(?:\.\d+)?)W)?(?:(?P<d>\d+(?:\.\d+)?)D)?"
    r"(?:T(?:(?P<h>\d+(?:\.\d+)?)H)?(?:(?P<m>\d+(?:\.\d+)?)M)?(?:(?P<s>\d+(?:\.\d+)?)S)?)?"
)
LONGEST = 100 * 365 * 86400.0


def parse_duration(value: DurationLike) -> float:
    """Seconds in `value`: a number of seconds, a timedelta, "1h30m" (units w d h m s ms, descending) or
    ISO 8601 ("PT1H30M"). Raises InvalidInput for anything else, negatives, and more than 100 years."""
    seconds = seconds_in(value)
    if seconds is None or not math.isfinite(seconds):
        raise InvalidInput(
            f'{shown(value)} is not a duration; give seconds, "1h30m" or ISO 8601 like "PT90S"', value=value
        )
    if seconds < 0:
        raise InvalidInput(f"a duration cannot be negative: {shown(value)}", value=value)
    if seconds > LONGEST:
        raise InvalidInput(f"a duration cannot exceed 100 years: {shown(value)}", value=value)
    return seconds


def seconds_in(value: Any) -> float | None:
    """The seconds in `value`, of any size and sign, infinite ones included; None when it is no duration at all."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        try:
            return float(value)
        except OverflowError:
            return math.inf if value > 0 else -math.inf
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, str):
        return _parse_text(value.strip())
    return None


def _parse_text(text: str) -> float | None:
    if _HUMAN.fullmatch(text):
        parts = _PART.findall(text)
        sizes = [_SECONDS[unit] for _, unit in parts]
        if any(later >= earlier for earlier, later in pairwise(sizes)):
            return None  # "5m1h" or "5m5m" is more likely a slip than a wish
        return sum(float(number) * size for (number, _), size in zip(parts, sizes, strict=True))
    iso = _ISO.fullmatch(text)
    if iso and any(iso.groupdict().values()):
        return sum(float(number) * _SECONDS[unit] for unit, number in iso.groupdict().items() if number)
    try:
        return float(text)
    except ValueError:
        return None


_Said = Annotated[float | str, Field(description='Seconds, "1h30m" or ISO 8601.')]

Duration = Annotated[float, BeforeValidator(parse_duration, json_schema_input_type=_Said)]
"""A pydantic field that accepts every DurationLike and holds seconds."""
