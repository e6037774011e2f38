"""Guards of the build: what the wheel holds, where the two links lead, that pins and packages are complete.

It must not know what the modules do.
"""

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
MAPPED = {"workflows": "durable_tasks.workflows", "activities": "durable_tasks.activities"}


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def package_files(suffix: str) -> set[str]:
    """Where the wheel has to hold each of our files that ends in `suffix`; the links are not followed."""
    found = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "durable_tasks").rglob(f"*{suffix}")
        if not {"workflows", "activities"} & {*path.relative_to(ROOT / "durable_tasks").parts[:1]}
    }
    for folder in MAPPED:
        found |= {f"durable_tasks/{path.relative_to(ROOT).as_posix()}" for path in (ROOT / folder).rglob(f"*{suffix}")}
    return found


def run(*command: str | Path, cwd: Path, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy so that nothing of an earlier build can leak in. No index is asked."""
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    for name in ("durable_tasks", "workflows", "activities"):
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    target = tmp_path_factory.mktemp("wheel")
    run(
        *(sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check"),
        *("--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", target, source),
        cwd=target,
    )
    (built,) = target.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def contents(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_the_packages_list_is_complete() -> None:
    folders = {Path(path).parent.as_posix().replace("/", ".") for path in package_files("__init__.py")}
    packages = project()["tool"]["setuptools"]["packages"]
    assert packages == sorted(folders)


def test_every_module_lies_in_a_package() -> None:
    with_init = {Path(path).parent for path in package_files("__init__.py")}
    assert {Path(path).parent for path in package_files(".py")} <= with_init


@pytest.mark.parametrize("folder", sorted(MAPPED))
def test_the_link_leads_to_the_real_folder(folder: str) -> None:
    link = ROOT / "durable_tasks" / folder
    assert link.is_symlink()
    assert link.readlink() == Path("..") / folder
    assert link.samefile(ROOT / folder)
    assert project()["tool"]["setuptools"]["package-dir"][MAPPED[folder]] == folder


def test_the_wheel_has_one_top_level_package(contents: set[str]) -> None:
    top = {name.split("/")[0] for name in contents}
    assert {name for name in top if not name.endswith(".dist-info")} == {"durable_tasks"}


def test_the_wheel_holds_every_module_and_migration(contents: set[str]) -> None:
    migrations = package_files(".sql")
    assert migrations
    expected = package_files(".py") | migrations | {"durable_tasks/py.typed"}
    assert {"durable_tasks/workflows/__init__.py", "durable_tasks/activities/__init__.py"} <= expected
    assert {name for name in contents if name.startswith("durable_tasks/")} == expected


def test_the_installed_wheel_works_beside_a_package_of_the_user_named_workflows(wheel: Path, tmp_path: Path) -> None:
    site, app = tmp_path / "site", tmp_path / "app"
    run(
        *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
        *("--no-deps", "--no-index", "--target", site, wheel),
        cwd=tmp_path,
    )
    for folder in MAPPED:
        (app / folder).mkdir(parents=True)
        (app / folder / "__init__.py").write_text("OWNER = 'the user'\n", encoding="utf-8")
    (app / "main.py").write_text(
        "import importlib, pkgutil, sys\n"
        "import activities, durable_tasks, workflows\n"
        "assert durable_tasks.__file__.startswith(sys.argv[1]), durable_tasks.__file__\n"
        "modules = list(pkgutil.walk_packages(durable_tasks.__path__, 'durable_tasks.'))\n"
        "for module in modules:\n"
        "    if not module.name.endswith('__main__') and '.testing' not in module.name:\n"
        "        importlib.import_module(module.name)\n"
        "ours = sys.modules['durable_tasks.workflows'], sys.modules['durable_tasks.activities']\n"
        "assert all(module.__file__.startswith(sys.argv[1]) for module in ours), ours\n"
        "assert sys.modules['workflows'] is workflows and not hasattr(ours[0], 'OWNER')\n"
        "print(workflows.OWNER, activities.OWNER, len(modules))\n",
        encoding="utf-8",
    )
    env = {"PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": "1", "PATH": ""}
    printed = run(sys.executable, "-W", "error", app / "main.py", site, cwd=app, env=env)
    assert printed.startswith("the user the user ")
    assert int(printed.split()[-1]) == len(package_files(".py")) - 1


def test_the_constraints_are_plain_pins_of_everything_asked_for() -> None:
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert [line for line in pins if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.!+]+", line)] == []
    pinned = {canonical(line) for line in pins}
    assert len(pinned) == len(pins)
    settings = project()
    asked = [*settings["project"]["dependencies"], *settings["dependency-groups"]["dev"]]
    for extra in settings["project"]["optional-dependencies"].values():
        asked += extra
    assert {canonical(line) for line in asked} - {"durable-tasks"} <= pinned


def test_the_extra_named_all_is_all() -> None:
    extras = project()["project"]["optional-dependencies"]
    names = ",".join(sorted(set(extras) - {"all"}))
    assert extras["all"] == [f"durable-tasks[{names}]"]


def test_the_changelog_knows_the_version_or_has_unreleased_changes() -> None:
    version = project()["project"]["version"]
    headings = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert headings[0] == "Unreleased"
    assert headings[1:] == [] or headings[1] == version


def canonical(requirement: str) -> str:
    name = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert name is not None, requirement
    return re.sub(r"[._-]+", "-", name.group()).lower()
