"""Searching in text: how words are looked for, and how much text one search looks at.

It must not know what is searched.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

LOOKED_AT = 4 * 1024 * 1024
"""Characters that one page, or one count, looks at: a tenth of a second."""
_BETWEEN = "char(31)"
"""No search goes from one column into the next."""


class Condition(NamedTuple):
    """A part of a WHERE clause; several are joined by AND."""

    sql: str
    values: tuple[Any, ...] = ()


class Budget:
    """How many rows and characters may still be looked at."""

    def __init__(self, rows: int, characters: int) -> None:
        self._rows = rows
        self._characters = characters

    def spend(self, characters: int) -> bool:
        """One row more. Answers whether another may follow."""
        self._rows -= 1
        self._characters -= characters
        return self._rows > 0 and self._characters > 0


def _folded(columns: Sequence[str]) -> str:
    """The text of the columns, with ASCII in lower case."""
    return f"lower({f' || {_BETWEEN} || '.join(columns)})"


def containing(text: str, column: str) -> Condition:
    """Whether the folded text in `column` has `text`. SQLite knows upper and lower case of ASCII only, so others are
    looked for as words are commonly written. A search for a plain part, not for a pattern: its cost is known whatever
    the text is."""
    spellings = {_lower(spelling) for spelling in (text, text.lower(), text.upper(), text.title(), text.capitalize())}
    sql = " OR ".join([f"instr({column}, ?) > 0"] * len(spellings))
    return Condition(f"({sql})", tuple(sorted(spellings)))


def _lower(text: str) -> str:
    """As SQLite's lower() does it."""
    return "".join(character.lower() if character.isascii() else character for character in text)


def all_of(conditions: Iterable[Condition]) -> Condition:
    conditions = tuple(conditions)
    return Condition(
        " AND ".join(condition.sql for condition in conditions),
        tuple(value for condition in conditions for value in condition.values),
    )


def probe(fits: str, text: str | None, columns: Sequence[str]) -> str:
    """The columns that `hits` wants of a row beside its key: whether it `fits`, or its folded text if it does."""
    return f"{fits}, 0" if text is None else f"CASE WHEN {fits} THEN {_folded(columns)} END AS folded, 0"


def hits(rows: Condition, text: str | None, most: int) -> Condition:
    """A SELECT of, for at most `most` of the `rows`: the key, whether it is a hit, the characters looked at.

    Its inner limit keeps SQLite from folding the text anew for every spelling; the rows still come one by one."""
    if text is None:
        return Condition(f"{rows.sql} LIMIT ?", (*rows.values, most))
    found = containing(text, "folded")
    return Condition(
        f"SELECT key, COALESCE({found.sql}, 0), COALESCE(length(folded), 0) FROM ({rows.sql} LIMIT ?) LIMIT ?",
        (*found.values, *rows.values, most, most),
    )
