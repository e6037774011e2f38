"""Beside the file: where it really lies, and the private folder with its processes' locks and its witness.

It must not know what a lock or the witness says.
"""

import os
import stat
import tempfile
from pathlib import Path

from durable_tasks.errors import StoreUnreadable
from durable_tasks.store.connection import explain_os


def real_path(path: Path) -> Path:
    """`path` without symbolic links: however a process spells it, one file has one folder beside it."""
    try:
        return path.resolve()
    except (OSError, RuntimeError) as error:  # Python before 3.13 raises RuntimeError for a circle
        raise StoreUnreadable(
            f"{path} cannot be followed: its symbolic links lead in a circle", path=str(path)
        ) from error


def folder_of(db: Path) -> Path:
    return db.with_name(db.name + "-processes")


def make_folder(db: Path) -> Path:
    """The folder, made if it is missing. Raises StoreUnreadable for one that others could have prepared."""
    folder = folder_of(db)
    try:
        owner = db.stat()
        try:
            folder.mkdir(mode=0o700)
            _give(folder, owner)
        except FileExistsError:
            _refuse_foreign(folder, folder.lstat(), owner.st_uid)
    except OSError as error:
        raise explain_os(error, folder) from error
    return folder


def open_private(path: Path, flags: int) -> int:
    """Open a file in the folder: never through a symbolic link, and for its owner alone."""
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    if flags & os.O_CREAT:
        _give(descriptor, path.parent.stat())
    return descriptor


def read_private(path: Path) -> str:
    """The whole of a small file in the folder."""
    with open(open_private(path, os.O_RDONLY)) as file:
        return file.read(4096)


def write_private(path: Path, text: str) -> None:
    """Replace a file in the folder as a whole. The new one has a name that nobody could have prepared."""
    descriptor, fresh = tempfile.mkstemp(dir=path.parent, prefix=f"{path.name}.")
    try:
        with open(descriptor, "w") as file:
            _give(descriptor, path.parent.stat())
            file.write(text)
        os.replace(fresh, path)
    except BaseException:
        os.unlink(fresh)
        raise


def _give(what: Path | int, owner: os.stat_result) -> None:
    """As SQLite does with what it puts beside a file: root must not lock the file's own user out."""
    if os.geteuid() == 0:
        os.chown(what, owner.st_uid, owner.st_gid)


def _refuse_foreign(folder: Path, found: os.stat_result, owner: int) -> None:
    if not stat.S_ISDIR(found.st_mode):
        what = "is no folder"
    elif found.st_uid not in (os.geteuid(), owner):
        what = f"belongs to another user ({found.st_uid})"
    elif found.st_mode & stat.S_IWOTH:
        what = "can be written by everybody"
    else:
        return
    raise StoreUnreadable(
        f"{folder} {what}; the locks of the file's processes are kept there: move it away, it is made again",
        path=str(folder),
    )
