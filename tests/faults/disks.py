"""Disks for processes to fail on: a small one that can be filled, and one that refuses what it is told to.
It must not know what is stored on them.
"""

import errno
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.faults.preload import built

SIZE = 32 * 2**20
"""Bytes of the small disk."""
BLOCK = 4096


class FailingDisk:
    """What processes meet that are started with its environment, said in a file that their library looks at."""

    def __init__(self, folder: Path) -> None:
        self._orders = folder / "orders"
        self._orders.write_bytes(bytes(64))
        self.environment = {
            "LD_PRELOAD": str(built("failing", folder)),
            "FAILING": str(self._orders),
            "FAILING_FILES": "tasks.db:tasks.db-wal",
        }

    def order(self, what: str) -> None:
        with self._orders.open("r+b") as orders:
            orders.write(what.encode().ljust(64, b"\0"))

    def fill(self, left: int) -> None:
        self.order(f"write {errno.ENOSPC}")

    def free(self) -> None:
        self.order("")


class SmallDisk:
    """A file system of its own, which somebody else fills."""

    def __init__(self, folder: Path) -> None:
        self._ballast = folder / "ballast"
        self.environment: dict[str, str] = {}

    def fill(self, left: int) -> None:
        """Up to so many bytes, while others write to it too."""
        fd = os.open(self._ballast, os.O_CREAT | os.O_WRONLY)
        written = 0
        try:
            while True:
                written += os.write(fd, bytes(BLOCK))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            os.ftruncate(fd, max(0, written - left))
        finally:
            os.close(fd)

    def free(self) -> None:
        self._ballast.unlink()


@contextmanager
def small_disk(folder: Path, beside: Path) -> Iterator[SmallDisk | FailingDisk]:
    """One at `folder`; where none can be mounted, one that refuses every write. `beside`: where its library lies."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):  # only root may
        yield FailingDisk(beside)
        return
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
