"""A recording of all that was done to a file, and what a power cut at any instant could leave of it.
It must not know what is in the files.
"""

import random
import struct
from collections.abc import Iterator
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple

_HEAD = struct.Struct("<BBQQ")
SECTOR = 512


class What(IntEnum):
    WRITE = 1
    TRUNCATE = 2
    SYNC = 3
    REMOVE = 4


class Act(NamedTuple):
    what: What
    file: int
    offset: int
    length: int
    data: bytes


def acts(recording: Path) -> Iterator[Act]:
    with recording.open("rb") as file:
        while len(head := file.read(_HEAD.size)) == _HEAD.size:
            what, number, offset, length = _HEAD.unpack(head)
            data = file.read(length) if what == What.WRITE else b""
            yield Act(What(what), number, offset, length, data)


class Disk:
    """What has reached the disk for certain, and what is on its way there."""

    def __init__(self, files: int) -> None:
        self.certain = [bytearray() for _ in range(files)]
        self.pending: list[Act] = []
        """In the order in which they were done."""

    def do(self, act: Act) -> None:
        if act.what in (What.WRITE, What.TRUNCATE):
            self.pending.append(act)
            return
        for one in self.pending:
            if one.file == act.file and act.what is What.SYNC:
                _apply(self.certain[act.file], one)
        self.pending = [one for one in self.pending if one.file != act.file]
        if act.what is What.REMOVE:
            self.certain[act.file].clear()

    def after_a_cut(self, how: str, rng: random.Random) -> list[bytearray]:
        """One of the states in which the power can leave the files: of what was not synced `none` arrived, `all`, a
        `prefix`, a random `half`, or single sectors (`torn`)."""
        left = [bytearray(content) for content in self.certain]
        for act in self._arrived(how, rng):
            _apply(left[act.file], act)
        return left

    def _arrived(self, how: str, rng: random.Random) -> list[Act]:
        match how:
            case "none":
                return []
            case "all":
                return self.pending
            case "prefix":
                return self.pending[: rng.randint(0, len(self.pending))]
            case "half":
                return [act for act in self.pending if rng.random() < 0.5]
        return [part for act in self.pending for part in _sectors(act) if rng.random() < 0.5]


WAYS = ("none", "all", "prefix", "half", "torn")


def _sectors(act: Act) -> Iterator[Act]:
    if act.what is not What.WRITE:
        yield act
        return
    start = 0
    while start < act.length:
        size = min(SECTOR - (act.offset + start) % SECTOR, act.length - start)
        yield Act(What.WRITE, act.file, act.offset + start, size, act.data[start : start + size])
        start += size


def _apply(content: bytearray, act: Act) -> None:
    if act.what is What.TRUNCATE:
        content[act.length :] = b""
        content.extend(bytes(act.length - len(content)))
        return
    content.extend(bytes(max(0, act.offset - len(content))))
    content[act.offset : act.offset + act.length] = act.data
