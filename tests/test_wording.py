"""Wording: whatever a value does when it is asked, there are words for it, and they can be stored.

It must not know what becomes of them.
"""

import sys
from typing import Any, NoReturn

import pytest

from durable_tasks.wording import message_of, shown, traceback_of, type_name


class Rude:
    """Raises whatever is asked of it, an exception that ends programs included."""

    def __repr__(self) -> NoReturn:
        raise SystemExit(3)

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        raise KeyboardInterrupt


class RudeError(Exception):
    def __str__(self) -> NoReturn:
        raise GeneratorExit

    __repr__ = __str__

    @property
    def __notes__(self) -> NoReturn:  # type: ignore[override]
        raise SystemExit(3)


class Nameless(type):
    @property
    def __name__(cls) -> NoReturn:  # type: ignore[override]
        raise RuntimeError


class Anonymous(Exception, metaclass=Nameless):
    pass


class Many(str):
    def encode(self, *_: Any, **__: Any) -> NoReturn:
        raise RuntimeError


class ManySaid:
    def __repr__(self) -> str:
        return Many("said")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (5, "5"), ("\ud800", r"'\ud800'"), (Rude(), "<Rude that cannot be shown>"), (ManySaid(), "said"),
        (10**5000, "<int that cannot be shown>"), (Anonymous(), "Anonymous()"),
    ],
    ids=["number", "surrogate", "rude", "text of another kind", "huge", "nameless"],
)  # fmt: skip
def test_there_are_words_for_anything(value: Any, said: str) -> None:
    assert shown(value) == said


def test_they_are_short() -> None:
    assert len(shown("x" * 10_000)) == 200
    assert len(type_name(type("x" * 10_000, (), {})())) == 200


def test_there_are_words_for_any_exception() -> None:
    chain = RudeError()
    for _ in range(sys.getrecursionlimit() * 2):
        after = RudeError()
        after.__cause__, chain = chain, after
    for error in (RudeError(), Anonymous(), chain, ExceptionGroup("many", [RudeError()] * 1000), ValueError("\ud800")):
        for said in (message_of(error, 100), traceback_of(error, 100), type_name(error)):
            assert 0 < len(said.encode()) <= 100
