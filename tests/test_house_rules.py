"""The house rules that no linter knows, read from the syntax trees: docstrings, where SQL is, no sleeping.

It must not know what the modules do. Each rule is first tried on code that breaks it.
"""

import ast
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import durable_tasks

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = sorted(
    path
    for folder in ("durable_tasks", "workflows", "activities")
    for path in (ROOT / folder).rglob("*.py")
    if path.relative_to(ROOT).parts[:2] not in {("durable_tasks", "workflows"), ("durable_tasks", "activities")}
)
TESTS = sorted((ROOT / "tests").rglob("*.py"))
SQL = re.compile(
    r"\s*(?:(?:SELECT|INSERT|UPDATE|DELETE|CREATE|DROP|ALTER|PRAGMA|BEGIN|SAVEPOINT|ROLLBACK)\s"
    r"|(?i:select\s.+\sfrom\s|insert\s+(?:or\s+\w+\s+)?into\s|update\s+\w+\s+set\s|delete\s+from\s"
    r"|create\s+(?:unique\s+)?(?:table|index|trigger|view)\s|pragma\s+\w+\s*(?:=|\(|;|$)|begin\s+immediate))",
    re.DOTALL,
)

Rule = Callable[[ast.Module], list[int]]


def broken(rule: Rule, paths: list[Path]) -> list[str]:
    assert paths
    return [
        f"{path.relative_to(ROOT).as_posix()}:{line}"
        for path in paths
        for line in rule(ast.parse(path.read_text(encoding="utf-8"), filename=str(path)))
    ]


def imported_names(tree: ast.Module) -> dict[str, str]:
    """What each imported name stands for: `from time import sleep as nap` gives {"nap": "time.sleep"}."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                names[alias.asname or alias.name.split(".")[0]] = (
                    alias.name if alias.asname else alias.name.split(".")[0]
                )
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            names |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return names


def qualified(node: ast.expr, names: dict[str, str]) -> str:
    """The dotted name `node` stands for, "" when it is none."""
    if isinstance(node, ast.Name):
        return names.get(node.id, node.id)
    if isinstance(node, ast.Attribute):
        owner = qualified(node.value, names)
        return f"{owner}.{node.attr}" if owner else ""
    return ""


def docstring_too_short(tree: ast.Module) -> list[int]:
    text = ast.get_docstring(tree) or ""
    return [] if sum(bool(line.strip()) for line in text.splitlines()) >= 2 else [1]


def sql(tree: ast.Module) -> list[int]:
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    return [
        node.lineno
        for node in ast.walk(tree)
        if (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and id(node) not in docstrings
            and SQL.match(node.value)
        )
        or (isinstance(node, ast.Attribute) and node.attr in {"executemany", "executescript"})
    ]


def sleeps(tree: ast.Module) -> list[int]:
    names = imported_names(tree)
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = qualified(node.func, names)
        yields = len(node.args) == 1 and isinstance(node.args[0], ast.Constant) and node.args[0].value == 0
        if called == "time.sleep" or (called in {"asyncio.sleep", "anyio.sleep"} and not yields):
            found.append(node.lineno)
    return found


def reads_environment_at_import(tree: ast.Module) -> list[int]:
    names = imported_names(tree)
    return [
        node.lineno
        for node in at_import(tree)
        if isinstance(node, ast.Name | ast.Attribute)
        and qualified(node, names) in {"os.environ", "os.environb", "os.getenv", "os.getenvb"}
    ]


def at_import(node: ast.AST) -> Iterator[ast.AST]:
    """Every node that runs when the module is imported: defaults and decorators, not function bodies."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            body = child.body if isinstance(child.body, list) else [child.body]
            for part in ast.iter_child_nodes(child):
                if part not in body:
                    yield part
                    yield from at_import(part)
        else:
            yield child
            yield from at_import(child)


def imports_the_temporal_client(tree: ast.Module) -> list[int]:
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            targets = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        if any(f"{target}.".startswith("temporalio.client.") for target in targets):
            found.append(node.lineno)
    return found


@pytest.mark.parametrize(
    ("rule", "bad", "good"),
    [
        (docstring_too_short, '"""One line."""', '"""One line.\n\nAnd another.\n"""'),
        (docstring_too_short, "x = 1", '"""One line.\nAnd another."""'),
        (sql, "run('SELECT 1')", "run('Select one of them')"),
        (sql, "run(f'UPDATE {table} SET x = 1')", '"""UPDATE of the docs."""'),
        (sql, "x = 'delete from dt_tasks'", "x = 'delete it from there'"),
        (sql, "connection.executescript(text)", "activity.execute(text)"),
        (sleeps, "import time\ntime.sleep(1)", "import time\ntime.monotonic()"),
        (sleeps, "from time import sleep as nap\nnap(0)", "from asyncio import sleep\nsleep(0)"),
        (sleeps, "import asyncio\nasyncio.sleep(0.1)", "import asyncio\nasyncio.sleep(0)"),
        (sleeps, "from asyncio import sleep\nsleep(delay=0)", "clock.sleep(1)"),
        (
            reads_environment_at_import,
            "import os\nx = os.environ['A']",
            "import os\ndef f(): return os.environ",
        ),
        (
            reads_environment_at_import,
            "from os import getenv\nclass A:\n x = getenv('A')",
            "x = lambda: getenv('A')",
        ),
        (reads_environment_at_import, "import os\ndef f(x=os.getenv('A')): ...", "getenv = 1"),
        (imports_the_temporal_client, "import temporalio.client", "import temporalio.common"),
        (imports_the_temporal_client, "from temporalio import client", "from temporalio import workflow"),
        (imports_the_temporal_client, "from temporalio.client import Client", "import temporalio"),
    ],
)
def test_each_rule_sees_what_breaks_it(rule: Rule, bad: str, good: str) -> None:
    assert len(rule(ast.parse(bad))) == 1
    assert rule(ast.parse(good)) == []


def test_every_module_says_what_it_owns_and_what_it_must_not_know() -> None:
    assert broken(docstring_too_short, PACKAGE) == []


def test_sql_stands_in_the_store_only() -> None:
    assert broken(sql, [path for path in PACKAGE if ROOT / "durable_tasks/store" not in path.parents]) == []


def test_nothing_sleeps() -> None:
    assert broken(sleeps, PACKAGE + TESTS) == []


def test_nothing_reads_the_environment_at_import() -> None:
    assert broken(reads_environment_at_import, PACKAGE) == []


def test_only_the_bridge_knows_the_temporal_client() -> None:
    allowed = {ROOT / "durable_tasks/temporal", ROOT / "durable_tasks/testing"}
    assert broken(imports_the_temporal_client, [path for path in PACKAGE if not allowed & {*path.parents}]) == []


@pytest.mark.parametrize("statement", ["import durable_tasks", "from durable_tasks import DurableTasks"])
def test_importing_the_package_does_not_import_temporal(statement: str) -> None:
    code = f"import sys\n{statement}\nprint([name for name in sys.modules if name.startswith('temporalio')])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.strip() == "[]"


def test_the_public_names_are_sorted_and_are_the_lazy_ones() -> None:
    """Checkers read the imports under TYPE_CHECKING, programs call `__getattr__`: both offer `__all__`."""
    public = durable_tasks.__all__
    assert list(public) == sorted(set(public))
    tree = ast.parse(Path(str(durable_tasks.__file__)).read_text(encoding="utf-8"))
    declared = {
        alias.asname or alias.name
        for block in tree.body
        if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.unparse(block.test)
        for node in ast.walk(block)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert declared == set(public) - {"__version__"}
    assert [name for name in public if getattr(durable_tasks, name, None) is None] == []
    assert set(public) <= set(dir(durable_tasks))
    with pytest.raises(AttributeError):
        durable_tasks.__getattr__("no_such_name")
