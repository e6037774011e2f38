"""Instants: what a caller may say for a moment, and which moments there are: those of the years 1 to 9999, in UTC.

It must not know clocks, tasks or settings.
"""

import math
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from pydantic import AwareDatetime, BeforeValidator, Field, TypeAdapter, ValidationError

from durable_tasks.durations import DurationLike, parse_duration, seconds_in
from durable_tasks.errors import InvalidInput
from durable_tasks.wording import shown

InstantLike = datetime | DurationLike

FARTHEST_NUMBER = 10 * 365 * 86400.0
"""Seconds. A bare number above is a date as some other program counts them, and no wish for the next centuries."""
_FIRST = datetime.min.replace(tzinfo=UTC)
_LAST = datetime.max.replace(tzinfo=UTC)
_FIRST_SECOND, _BEHIND_LAST = -62135596800.0, 253402300800.0
"""The years 1 and 10000; to the latter the last microseconds before it are rounded as float seconds."""
_AWARE: TypeAdapter[datetime] = TypeAdapter(AwareDatetime)


def utc(seconds: float) -> datetime:
    """Unix seconds as an aware datetime. What lies outside of the years 1 to 9999, in a file of an earlier version, is
    shown as their edge: it must not keep anything else from being read."""
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return _LAST if seconds > 0 else _FIRST


def parse_instant(value: InstantLike) -> datetime | float:
    """A moment as an aware datetime, or as seconds from now: datetimes and their ISO 8601 texts are the former, all
    that `parse_duration` takes is the latter. Raises InvalidInput, also for a bare number above ten years and for a
    moment outside of the years 1 to 9999 UTC."""
    if isinstance(value, datetime):
        return _within(value, value)
    if (found := seconds_in(value)) is not None:
        if FARTHEST_NUMBER < found < math.inf and _is_bare(value):
            raise InvalidInput(_farther(value, found), value=value)
        return parse_duration(value)
    if not isinstance(value, str):
        raise _no_instant(value)
    try:
        return _within(_AWARE.validate_python(value), value)
    except ValidationError as error:
        why = error.errors(include_url=False)[0]["msg"]
        raise InvalidInput(f"{shown(value)} is no instant: {why}", value=value) from error


def seconds_at(moment: datetime | float | None, now: float) -> float | None:
    """Unix seconds of what `parse_instant` answered; whatever comes in, what goes out can be stored and read back.
    Raises InvalidInput."""
    if moment is None:
        return None
    seconds = moment.timestamp() if isinstance(moment, datetime) else now + moment
    if not _FIRST_SECOND <= seconds < _BEHIND_LAST:
        said = moment.isoformat() if isinstance(moment, datetime) else shown(moment)
        raise InvalidInput(
            f"{said} is outside of the years 1 to 9999 in UTC (less the last 15 microseconds)", value=moment
        )
    return seconds


def _within(moment: datetime, value: InstantLike) -> datetime:
    if moment.utcoffset() is None:
        raise InvalidInput(f"{shown(value)} is no instant: it should have timezone info", value=value)
    seconds_at(moment, 0.0)
    return moment


def _is_bare(value: InstantLike) -> bool:
    if not isinstance(value, str):
        return not isinstance(value, timedelta)
    return not any(character.isalpha() for character in value.replace("e", "").replace("E", ""))


def _farther(value: InstantLike, seconds: float) -> str:
    for meant in (seconds, seconds / 1000):
        if meant < _BEHIND_LAST:
            hint = f'"{utc(meant).isoformat().replace("+00:00", "Z")}"'
            return (
                f"a bare number is seconds from now, and {shown(value)} is more than ten years;"
                f" give the moment as a datetime: {hint}, if that was meant"
            )
    return f"a bare number is seconds from now, and {shown(value)} is more than ten years"


def _no_instant(value: Any) -> InvalidInput:
    return InvalidInput(
        f'{shown(value)} is no instant; give a datetime with a timezone, or seconds from now, "1h30m" or ISO 8601',
        value=value,
    )


_From = Annotated[
    float | str, Field(description='Seconds from now (at most ten years as a bare number), "1h30m" or ISO 8601.')
]

Instant = Annotated[AwareDatetime | float, BeforeValidator(parse_instant, json_schema_input_type=AwareDatetime | _From)]
"""A pydantic field that accepts every InstantLike, and holds an aware datetime or seconds from now."""
