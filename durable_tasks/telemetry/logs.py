"""Logs: each record as one line, of JSON or for people, with the task and the organisation it is about.

They must not know who logs; nothing here configures logging by itself.
"""

import json
import logging
import re
from datetime import UTC, datetime
from typing import Any

from durable_tasks.handlers import current_task
from durable_tasks.wording import visible

_PLAIN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
"""What every record has; the rest is what the one who logged gave as `extra`."""
_WORD = re.compile(r"[\w.:/@+*-]+")
"""Text that is read as one thing without quotes."""


class AboutTask(logging.Filter):
    """Gives each record that a handler logs, or what it calls, the task's id, organisation and attempt."""

    def filter(self, record: logging.LogRecord) -> bool:
        task = current_task()
        if task is not None:
            for name, value in (("task_id", task.id), ("org_id", task.org_id), ("attempt", task.attempt)):
                if not hasattr(record, name):
                    setattr(record, name, value)
        return True


class JsonFormatter(logging.Formatter):
    """One line of JSON: time, level, logger, message, everything given as `extra`, and the traceback if any."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "at": _at(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: value for name, value in _given(record) if name not in line}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)


class TextFormatter(logging.Formatter):
    """One line for people: time, level, logger, message, then everything given as `extra` as name=value. A traceback
    follows on lines of its own, indented: what an exception says must not pass for another record."""

    def format(self, record: logging.LogRecord) -> str:
        facts = "".join(f" {name}={_word(value)}" for name, value in _given(record))
        line = f"{_at(record)} {record.levelname} {record.name}: {visible(record.getMessage())}{facts}"
        if not record.exc_info:
            return line
        below = self.formatException(record.exc_info).split("\n")
        return "\n".join([line, *(f"  {visible(one)}" for one in below)])


def json_handler() -> logging.Handler:
    """A handler to standard error that writes such lines: `logging.basicConfig(handlers=[json_handler()])`."""
    return _handler(JsonFormatter())


def text_handler() -> logging.Handler:
    """The same with lines for people."""
    return _handler(TextFormatter())


def _handler(formatter: logging.Formatter) -> logging.Handler:
    handler = logging.StreamHandler()
    handler.setFormatter(formatter)
    handler.addFilter(AboutTask())
    return handler


def _at(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")


def _given(record: logging.LogRecord) -> list[tuple[str, Any]]:
    return [(name, value) for name, value in vars(record).items() if name not in _PLAIN]


def _word(value: Any) -> str:
    if isinstance(value, str) and _WORD.fullmatch(value):
        return value
    return visible(json.dumps(value, default=str, ensure_ascii=False))
