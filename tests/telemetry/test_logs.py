"""Logs: one line of JSON per record, which says what task it is about.

They must not know how the task is found.
"""

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from durable_tasks import DurableTasks, Settings, Task, TaskContext
from durable_tasks.telemetry.logs import json_handler, text_handler

SECONDS = 30.0
log = logging.getLogger("tests.telemetry.somebodys_library")


class Lines(io.StringIO):
    """What was written, as objects."""

    def objects(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.getvalue().splitlines()]


@pytest.fixture
def written() -> Iterator[Lines]:
    handler = json_handler()
    assert isinstance(handler, logging.StreamHandler)
    lines = Lines()
    handler.setStream(lines)
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    yield lines
    log.removeHandler(handler)


async def test_what_a_handlers_library_logs_names_the_task(tmp_path: Path, written: Lines) -> None:
    tasks = DurableTasks(Settings(db=tmp_path / "tasks.db"))

    @tasks.handler("async")
    async def one(ctx: TaskContext, task: Task) -> None:
        log.info("fetched %d pages", 3)

    @tasks.handler("sync")
    def other(ctx: TaskContext, task: Task) -> None:
        log.info("in a thread")

    async with tasks:
        made = [await tasks.org("acme").create("log", capability=kind) for kind in ("async", "sync")]
        for task in made:
            await tasks.org("acme").wait(task.id, timeout=SECONDS)
    log.info("outside")
    said = {line["message"]: line for line in written.objects()}
    for message, task in zip(("fetched 3 pages", "in a thread"), made, strict=True):
        line = said[message]
        assert (line["task_id"], line["org_id"], line["attempt"]) == (task.id, "acme", 1)
        assert (line["level"], line["logger"]) == ("info", log.name)
    assert "task_id" not in said["outside"]


def test_extras_and_tracebacks_are_kept_on_one_line(written: Lines) -> None:
    try:
        raise ValueError("first\nsecond")
    except ValueError:
        log.exception("it broke\nhere", extra={"seq": 7, "path": Path("/x"), "message_": "ok"})
    (line,) = written.objects()
    assert (line["message"], line["seq"], line["path"], line["message_"]) == ("it broke\nhere", 7, "/x", "ok")
    assert "ValueError: first" in line["traceback"]


def test_a_line_for_people_has_the_extras_too_and_stays_one_line() -> None:
    handler, lines = text_handler(), io.StringIO()
    assert isinstance(handler, logging.StreamHandler)
    handler.setStream(lines)
    extra = {"request_id": "r-1", "said": "the disk is\x1b[2J\nfull", "status": 507, "found": ["a"]}
    handler.handle(log.makeRecord(log.name, logging.WARNING, "", 0, "it\nbroke %d", (2,), None, extra=extra))
    (line,) = lines.getvalue().splitlines()
    at, rest = line.split(" ", 1)
    assert at.endswith("+00:00")
    said = r'it\nbroke 2 request_id=r-1 said="the disk is\u001b[2J\nfull" status=507 found=["a"]'
    assert rest == f"WARNING {log.name}: {said}"


def test_no_exception_passes_for_another_record() -> None:
    handler, lines = text_handler(), io.StringIO()
    assert isinstance(handler, logging.StreamHandler)
    handler.setStream(lines)
    log.addHandler(handler)
    try:
        raise ValueError("it\n2026-11-29 WARNING forged\x1b[2J")
    except ValueError:
        log.exception("it broke")
    finally:
        log.removeHandler(handler)
    first, *rest = lines.getvalue().splitlines()
    assert first.endswith("it broke")
    assert all(line.startswith("  ") for line in rest)
    assert "\x1b" not in lines.getvalue()
