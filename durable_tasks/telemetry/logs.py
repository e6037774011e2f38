"""Logs: each record as one line of JSON, with the task and the organisation it is about.

They must not know who logs; nothing here configures logging by itself.
"""

import json
import logging
from datetime import UTC, datetime
from typing import Any

from durable_tasks.handlers import current_task

_PLAIN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
"""What every record has; the rest is what the one who logged gave as `extra`."""


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
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, Any] = {
            "at": at,
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: value for name, value in vars(record).items() if name not in _PLAIN and name not in line}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)


def json_handler() -> logging.Handler:
    """A handler to standard error that writes such lines: `logging.basicConfig(handlers=[json_handler()])`."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter())
    handler.addFilter(AboutTask())
    return handler
