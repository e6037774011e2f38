"""C programs that a process is started with, to stand between it and the kernel: built here, for Linux.
It must not know what a test does with them.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest


def built(name: str, folder: Path) -> Path:
    """The library made of NAME.c; the test is skipped where there is no C compiler."""
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if compiler is None or sys.platform != "linux":
        pytest.skip("needs Linux and a C compiler (Debian's packages gcc and libc6-dev)")
    library = folder / f"{name}.so"
    source = Path(__file__).with_name(f"{name}.c")
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o", library, source, "-ldl", "-lpthread"],
        check=True,
        timeout=60,
    )
    return library
