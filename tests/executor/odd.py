"""Odd values and exceptions, one for each number: what a handler may answer or raise.

It must not know what becomes of them; none of them runs for ever.
"""

import asyncio
import datetime
import decimal
import enum
import fractions
import math
import pathlib
import random
import types
import uuid
from collections.abc import Callable
from typing import Any, NoReturn

import pydantic

from durable_tasks import NonRetryable, RetryAfter, errors

PLAIN: tuple[Any, ...] = (
    None, True, False, 0, -1, 2**63, -(2**63) - 1, 10**400, 10**5000, 0.1, -0.0, 1e308, 5e-324, math.nan, math.inf,
    -math.inf, "", "a", "\x00", "\ud800", "\udfff\ud800", "é\u2028\ufeff\U0010ffff", '"}\\', b"", b"\xff\x00", (), [],
    {}, ..., NotImplemented, 1j,
)  # fmt: skip
KEYS: tuple[Any, ...] = ("k", "", "\ud800", "\x00", 1, 1.5, None, True, b"k", (1, 2), math.nan, frozenset((1,)))
SAID: tuple[str, ...] = ("", "no", "\ud800", "\x00\x1b[31m", "x" * 100_000, "é" * 9000, "%s %(x)s {0} {}", "\n" * 50)


class Raising:
    """Whatever it is asked."""

    def __init__(self, error: type[BaseException] = SystemExit) -> None:
        self.__dict__["error"] = error

    def __getattr__(self, name: str) -> NoReturn:
        raise self.__dict__["error"](name)

    def __repr__(self) -> NoReturn:
        raise self.__dict__["error"]("repr")

    __str__ = __iter__ = __len__ = __bool__ = __eq__ = __hash__ = __repr__  # type: ignore[assignment]


class Lying:
    """About its class."""

    def __init__(self, of: type) -> None:
        self.of = of

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        return self.of


class OddText(str):
    __slots__ = ()

    def encode(self, *_: Any, **__: Any) -> bytes:
        raise KeyboardInterrupt

    def __str__(self) -> str:
        return "another"

    def __len__(self) -> int:
        return -1


class OddNumber(int):
    def __repr__(self) -> str:
        return "NaN, "

    __str__ = __repr__


class OddFloat(float):
    def __repr__(self) -> str:
        return "1e999"


class OddDict(dict[Any, Any]):
    def items(self) -> NoReturn:
        raise GeneratorExit

    def __iter__(self) -> NoReturn:
        raise StopIteration


class OddList(list[Any]):
    def __iter__(self) -> NoReturn:
        raise MemoryError

    def __len__(self) -> int:
        return 10**9


class Dumps:
    """A model by its looks."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def model_dump(self, **_: Any) -> Any:
        if isinstance(self.answer, type):
            raise self.answer("while it was dumped")
        return self.answer


class Model(pydantic.BaseModel, arbitrary_types_allowed=True):
    inner: Any = None

    @pydantic.computed_field  # type: ignore[prop-decorator]
    @property
    def computed(self) -> Any:
        if self.inner == "raise":
            raise LookupError("computed")
        return 1


class Colour(enum.Enum):
    RED = Raising
    BLUE = "blue"


def _generator() -> Any:
    yield 1
    yield {"a": [2]}
    raise ValueError("after two")


async def _coroutine() -> int:
    return 1


def _cyclic() -> Any:
    one: Any = []
    one.append({"a": one})
    return one


def _deep(rng: random.Random) -> Any:
    value: Any = 1
    for _ in range(rng.choice((50, 99, 100, 101, 150, 250, 900, 5000))):
        value = [value] if rng.random() < 0.5 else {"k": value}
    return value


def _closed_coroutine() -> Any:
    made = _coroutine()
    made.close()
    return made


MAKERS: tuple[Callable[[random.Random], Any], ...] = (
    lambda rng: rng.choice(PLAIN),
    lambda rng: rng.choice(PLAIN),
    lambda rng: [value(rng) for _ in range(rng.randrange(4))],
    lambda rng: {rng.choice(KEYS): value(rng) for _ in range(rng.randrange(4))},
    lambda rng: tuple(value(rng) for _ in range(rng.randrange(3))),
    lambda rng: {1, "a", None, rng.random()},
    lambda rng: frozenset(("a",)),
    lambda rng: _cyclic(),
    _deep,
    lambda rng: "x" * rng.choice((1000, 65_536, 1_048_574, 1_048_575, 2_000_000)) if rng.random() < 0.05 else "x",
    lambda rng: "é" * rng.choice((100, 400_000, 700_000)) if rng.random() < 0.05 else "é",
    lambda rng: Raising(rng.choice(RAISING)),
    lambda rng: Lying(rng.choice((dict, list, str, int, Model, BaseException))),
    lambda rng: rng.choice((OddText("odd"), OddNumber(7), OddFloat(1.5), OddDict(a=1), OddList([1]))),
    lambda rng: {OddText("odd"): OddNumber(3)},
    lambda rng: Dumps(rng.choice((*PLAIN, *RAISING))),
    lambda rng: Model(inner=value(rng)) if rng.random() < 0.9 else Model(inner="raise"),
    lambda rng: rng.choice(list(Colour)),
    lambda rng: rng.choice((_generator(), range(5), iter([1, 2]), (n for n in "ab"), map(str, [1]), memoryview(b"a"))),
    lambda rng: rng.choice((_closed_coroutine(), print, types, lambda: 1, type, object(), Model, ValueError("x"))),
    lambda rng: rng.choice((datetime.datetime.max, datetime.datetime.min, datetime.timedelta.max, datetime.time.max)),
    lambda rng: rng.choice((decimal.Decimal("sNaN"), decimal.Decimal("1e999999"), fractions.Fraction(1, 3))),
    lambda rng: rng.choice((uuid.UUID(int=1), pathlib.Path("/x\udcff"), types.SimpleNamespace(a=1), asyncio.Event)),
)  # fmt: skip
RAISING: tuple[type[BaseException], ...] = (
    ValueError, SystemExit, KeyboardInterrupt, GeneratorExit, StopIteration, StopAsyncIteration, RecursionError,
    MemoryError, AttributeError, asyncio.CancelledError, TimeoutError, OSError, BaseException, AssertionError,
    NotImplementedError, EOFError, OverflowError, ZeroDivisionError,
)  # fmt: skip
OURS: tuple[type[errors.DurableTasksError], ...] = (
    errors.StoreBusy, errors.StoreFull, errors.Closed, errors.NotFound, errors.InvalidInput, errors.StaleToken,
    errors.WaitTimeout, NonRetryable,
)  # fmt: skip


def value(rng: random.Random) -> Any:
    return rng.choice(MAKERS)(rng)


def exception(rng: random.Random) -> BaseException:
    error = _bare(rng)
    if rng.random() < 0.2:
        _spoil(rng, error)
    return error


def _bare(rng: random.Random) -> BaseException:
    said = rng.choice(SAID)
    match rng.randrange(8):
        case 0 | 1:
            return rng.choice(RAISING)(said)
        case 2:
            return rng.choice(OURS)(said, **{rng.choice(("order", "\ud800", "x" * 999)): value(rng)})
        case 3:
            return RetryAfter(rng.choice((*PLAIN, -5, "5m", "never", datetime.timedelta.max, Raising())), said)
        case 4:
            return BaseExceptionGroup("many", [exception(rng) for _ in range(rng.randrange(1, 4))])
        case 5:
            name = rng.choice(("released", "no_handler", "poison", "ü" * 5000, "a b\n", ""))
            base: type[BaseException] = rng.choice((Exception, BaseException))
            named: type[BaseException] = type(name, (base,), {})
            return named(said)
        case 6:
            return UnicodeDecodeError("utf-8", b"\xff", 0, 1, said)
        case _:
            return Unspeakable(rng.choice(RAISING))


class Unspeakable(Exception):
    """Raises when it is asked for anything."""

    def __init__(self, error: type[BaseException]) -> None:
        self.error = error

    def __str__(self) -> str:
        raise self.error("str")

    __repr__ = __str__

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        raise self.error("class")

    def __reduce__(self) -> NoReturn:
        raise self.error("reduce")


def _spoil(rng: random.Random, error: BaseException) -> None:
    match rng.randrange(5):
        case 0:
            error.args = (value(rng), value(rng))
        case 1:
            error.__cause__ = _bare(rng)
            error.__cause__.__cause__ = error
        case 2:
            error.__context__ = exception(rng)
        case 3:
            error.add_note(rng.choice(SAID))
        case _:
            vars(error)["__notes__"] = value(rng)
