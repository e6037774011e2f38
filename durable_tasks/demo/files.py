"""What the demo measures: which files of a folder are text, and their lines, words and SHA-256.

It must not know tasks; `wc -l` and `wc -w` give the same numbers.
"""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TypedDict

_SKIPPED = "__pycache__"
_LOOK = 8192
_CHUNK = 1 << 20


class FileCount(TypedDict):
    """One file's measure. A line is a newline; a word is what stands between ASCII white space."""

    path: str
    lines: int
    words: int
    sha256: str


def text_files(folder: Path) -> list[str]:
    """Paths below `folder`, relative and sorted, of its text files; hidden ones, caches and links are left out."""
    return sorted(path.relative_to(folder).as_posix() for path in _walk(folder) if _is_text(path))


def _walk(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".") and name != _SKIPPED]
        for name in names:
            path = Path(place, name)
            if not name.startswith(".") and path.is_file() and not path.is_symlink():
                yield path


def _is_text(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return b"\0" not in file.read(_LOOK)
    except OSError:
        return False  # unreadable, or gone since it was listed


def count_file(folder: Path, name: str) -> FileCount:
    """Measure one file, a chunk at a time. Raises OSError."""
    lines = words = 0
    digest = hashlib.sha256()
    in_word = False
    with (folder / name).open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            lines += chunk.count(b"\n")
            # A word that crosses the border of two chunks was counted with the first.
            words += len(chunk.split()) - (in_word and not chunk[:1].isspace())
            in_word = not chunk[-1:].isspace()
    return FileCount(path=name, lines=lines, words=words, sha256=digest.hexdigest())
