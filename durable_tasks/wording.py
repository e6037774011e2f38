"""Wording: what can be said of any value, type or exception, whatever it does when it is asked.

It must not know tasks, nor what becomes of the words; nothing here raises.
"""

import json
import re
import traceback
from collections.abc import Callable
from typing import Any

_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""Characters that command a terminal, end a line or turn the direction of writing: C0, DEL, C1, separators, bidi."""
_CREDENTIALS = re.compile(r"^(\w+://)?\S*@")
_QUERY = re.compile(r"\?\S+")


def shown(value: Any, limit: int = 200) -> str:
    """`repr(value)`, cut, that can be stored."""
    return _asked(lambda: repr(value), f"<{type_name(value)} that cannot be shown>")[:limit]


def text_of(value: Any, limit: int) -> str:
    """`str(value)`, cut, that can be stored."""
    return _asked(lambda: str(value), f"<{type_name(value)} that cannot be shown>")[:limit]


def message_of(error: BaseException, limit: int) -> str:
    """The exception's own words, cut; its repr when it has none."""
    return _asked(lambda: str(error) or repr(error), "<the exception cannot say what it is>")[:limit]


def traceback_of(error: BaseException, limit: int) -> str:
    """The end of the exception's traceback."""
    return _asked(lambda: "".join(traceback.format_exception(error, limit=-8)), "<no traceback can be made>")[-limit:]


def type_name(value: Any, limit: int = 200) -> str:
    """The name of the value's own type, whatever its `__class__` says."""
    return _asked(lambda: type.__getattribute__(type(value), "__name__"), "object")[:limit]


def visible(text: str) -> str:
    """The same with escapes, as JSON has them, for what a stranger's text could do to a terminal: it stays one line."""
    return _UNSEEN.sub(lambda found: json.dumps(found[0])[1:-1], text)


def without_credentials(text: str) -> str:
    """A URL, or an address, without what may be secret in it: who asks, and the query."""
    return _QUERY.sub("?***", _CREDENTIALS.sub(r"\1***@", text))


def _asked(asking: Callable[[], str], otherwise: str) -> str:
    try:
        # str.encode: a subclass of str may do anything. Lone surrogates are no UTF-8.
        return str.encode(asking(), errors="replace").decode()
    except BaseException:  # what a value raises when it is asked for words says nothing about us, SystemExit included
        return otherwise
