"""A disk that fails when a test says so: a library laid over the C library of a child process, built on the spot.

It must not know what is stored; of files outside the given folder it takes no notice.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

_SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/types.h>
#include <unistd.h>

/* What the disk says now: the name of a file in DISK_SAYS, "full" or "broken". */
static int said(const char *word) {
    const char *folder = getenv("DISK_SAYS");
    char path[4096];
    if (!folder) return 0;
    snprintf(path, sizeof path, "%s/%s", folder, word);
    return access(path, F_OK) == 0;
}

static int is_ours(int fd) {
    const char *folder = getenv("DISK_OF");
    char link[64], path[4096];
    ssize_t size;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    size = readlink(link, path, sizeof path - 1);
    if (!folder || size < 0) return 0;
    path[size] = 0;
    return strncmp(path, folder, strlen(folder)) == 0;
}

static int fails_write(int fd) {
    if (!is_ours(fd)) return 0;
    if (said("full")) { errno = ENOSPC; return 1; }
    if (said("broken")) { errno = EIO; return 1; }
    return 0;
}

#define NEXT(name, kind) ((kind)dlsym(RTLD_NEXT, name))
typedef ssize_t (*pwrite_f)(int, const void *, size_t, off_t);
typedef ssize_t (*pread_f)(int, void *, size_t, off_t);
typedef ssize_t (*write_f)(int, const void *, size_t);
typedef int (*fallocate_f)(int, off_t, off_t);

ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
    return fails_write(fd) ? -1 : NEXT("pwrite", pwrite_f)(fd, data, size, at);
}
ssize_t pwrite64(int fd, const void *data, size_t size, off_t at) {
    return fails_write(fd) ? -1 : NEXT("pwrite64", pwrite_f)(fd, data, size, at);
}
ssize_t write(int fd, const void *data, size_t size) {
    return fails_write(fd) ? -1 : NEXT("write", write_f)(fd, data, size);
}
ssize_t pread64(int fd, void *data, size_t size, off_t at) {
    if (is_ours(fd) && said("unreadable")) { errno = EIO; return -1; }
    return NEXT("pread64", pread_f)(fd, data, size, at);
}
ssize_t pread(int fd, void *data, size_t size, off_t at) {
    if (is_ours(fd) && said("unreadable")) { errno = EIO; return -1; }
    return NEXT("pread", pread_f)(fd, data, size, at);
}
int posix_fallocate(int fd, off_t at, off_t size) {
    return fails_write(fd) ? errno : NEXT("posix_fallocate", fallocate_f)(fd, at, size);
}
int statvfs(const char *path, struct statvfs *found) {
    int answer = NEXT("statvfs", int (*)(const char *, struct statvfs *))(path, found);
    if (answer == 0 && said("full")) found->f_bavail = found->f_bfree = 0;
    return answer;
}
int statvfs64(const char *path, struct statvfs64 *found) {
    int answer = NEXT("statvfs64", int (*)(const char *, struct statvfs64 *))(path, found);
    if (answer == 0 && said("full")) found->f_bavail = found->f_bfree = 0;
    return answer;
}
"""


class Disk:
    """The disk of one folder. `full`, `broken` (writes) and `unreadable` (reads) are said from outside."""

    def __init__(self, folder: Path, library: Path, switches: Path) -> None:
        self.folder = folder
        self._library = library
        self._switches = switches

    def say(self, word: str) -> None:
        (self._switches / word).touch()

    def recover(self) -> None:
        for switch in self._switches.iterdir():
            switch.unlink()

    def run(self, code: str, *args: object) -> "subprocess.Popen[str]":
        """Python in a process of its own on this disk, spoken to line by line."""
        env = {**os.environ, "LD_PRELOAD": str(self._library), "DISK_OF": str(self.folder)}
        return subprocess.Popen(
            [sys.executable, "-c", code, *map(str, args)],
            env={**env, "DISK_SAYS": str(self._switches)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )


def build(tmp_path: Path) -> Disk:
    """A healthy one. Skips the test where nothing can be laid over the C library."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("needs Linux and a C compiler to lay a failing disk over the C library")
    folder, switches = tmp_path / "disk", tmp_path / "switches"
    folder.mkdir()
    switches.mkdir()
    source, library = tmp_path / "disk.c", tmp_path / "disk.so"
    source.write_text(_SOURCE)
    command = [compiler, "-shared", "-fPIC", "-O1", "-w", "-o", str(library), str(source), "-ldl"]
    subprocess.run(command, check=True, capture_output=True)
    return Disk(folder, library, switches)
