"""The documentation is true: its programs run and print what it says, its tables are those of the code.

It must not judge style. A program is a ```python block; a ```text block right after it is what it prints.
"""

import ast
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from durable_tasks import DurableTasks, NewTask, Org, Settings, TaskContext, TaskState, errors
from durable_tasks.lifecycle import TRANSITIONS
from durable_tasks.telemetry.metrics import Metrics

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
REFERENCE = ROOT / "docs" / "reference"
BLOCK = re.compile(r"^```python\n(?P<code>.*?)^```\n(?:\n```text\n(?P<prints>.*?)^```\n)?", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:)([^)#]+)(#[^)]*)?\)")


class Program(NamedTuple):
    """A block of Python in a page, and what the page says that it prints."""

    name: str
    code: str
    prints: str | None


def programs() -> list[Program]:
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for block in BLOCK.finditer(text):
            line = text[: block.start()].count("\n") + 1
            found.append(Program(f"{page.relative_to(ROOT).as_posix()}:{line}", block["code"], block["prints"]))
    return found


def table(page: str, heading: str) -> list[list[str]]:
    """The rows of the table in `page` whose first column is headed so, without back quotes."""
    lines = (REFERENCE / page).read_text(encoding="utf-8").splitlines()
    rows: list[list[str]] = []
    inside = False
    for line in lines:
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and cells[0] == heading:
            inside = True
        elif inside and not line.startswith("|"):
            break
        elif inside and not set(line) <= set("|- "):
            rows.append([cell.replace("`", "") for cell in cells])
    return rows


@pytest.mark.parametrize("program", programs(), ids=lambda program: program.name)
def test_the_programs_of_the_documentation_run(program: Program, tmp_path: Path) -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith(("TASKS_", "HANZO_", "TEMPORAL_"))}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program.code],
        cwd=tmp_path,
        env={**env, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=150,
    )
    assert done.returncode == 0, done.stderr
    assert program.prints is not None, "say in a text block what it prints"
    assert [line.rstrip() for line in done.stdout.splitlines()] == [
        line.rstrip() for line in program.prints.splitlines()
    ]


def test_the_first_page_is_short_and_so_is_its_example() -> None:
    first = programs()[0]
    assert first.name.startswith("README.md")
    assert len([line for line in first.code.splitlines() if line]) <= 15
    assert len(PAGES[0].read_text(encoding="utf-8").splitlines()) <= 150


def test_every_link_leads_somewhere() -> None:
    broken = [
        f"{page.relative_to(ROOT)}: {link}"
        for page in PAGES
        for link, _ in LINK.findall(page.read_text(encoding="utf-8"))
        if not (page.parent / link).exists()
    ]
    assert broken == []


def test_the_errors_are_those_of_the_code() -> None:
    kinds = [
        kind for kind in vars(errors).values() if inspect.isclass(kind) and issubclass(kind, errors.DurableTasksError)
    ]
    assert {(row[0], row[1]) for row in table("errors.md", "Code")} == {(kind.code, kind.__name__) for kind in kinds}
    assert all(row[2] for row in table("errors.md", "Code"))


def test_the_states_are_those_of_the_code() -> None:
    expected = {state.value: ", ".join(sorted(TRANSITIONS[state])) or "nothing" for state in TaskState}
    assert {row[0]: row[2] for row in table("states.md", "State")} == expected


def test_the_events_are_those_of_the_code() -> None:
    """Kinds stand in the store as literals; two are put together from a state."""
    literal = re.compile(r"(task|workflow)\.[a-z]+")
    found = {
        node.value
        for path in (ROOT / "durable_tasks/store").glob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and literal.fullmatch(node.value)
    }
    assert {"task.created", "workflow.created"} <= found
    composed = {"task.retrying", "task.failed", "workflow.completed", "workflow.failed", "workflow.cancelled"}
    assert {row[0] for row in table("events.md", "Kind")} == found | composed


def test_the_metrics_are_those_of_the_code(tmp_path: Path) -> None:
    registry = Metrics(DurableTasks(Settings(db=tmp_path / "tasks.db"))).registry
    kinds = {"gauge": "level", "histogram": "histogram", "counter": "counter"}
    expected = {(one.name, kinds[one.type], one.documentation) for one in registry.collect()}
    assert {(row[0], row[2], row[3]) for row in table("metrics.md", "Metric")} == expected


@pytest.mark.parametrize("kind", [DurableTasks, Org, TaskContext], ids=lambda kind: str(kind.__name__))
def test_the_api_page_names_every_public_member(kind: type) -> None:
    text = (REFERENCE / "api.md").read_text(encoding="utf-8")
    named = set(re.findall(r"[a-z_]+", " ".join(re.findall(r"`([^`]+)`", text))))
    internal = {"store", "place", "quotas"}  # for the package's own layers
    members = {name for name in vars(kind) if not name.startswith("_")} - internal
    assert members - named == set()


def test_the_api_page_names_every_field_of_a_new_task() -> None:
    rows = table("api.md", "Field")
    assert {name for row in rows for name in row[0].split(", ")} == set(NewTask.model_fields)
