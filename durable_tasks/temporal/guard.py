"""Runs one server process for a parent and ends it when the parent is gone, however the parent went.

It must not import the package or know Temporal: run as a bare script, it is small (10 MB) and starts quickly.

    python -I -S guard.py PARENT_PID GRACE_SECONDS COMMAND…

Standard input and output are one end of a socket pair. The guard writes the server's pid to it; the server's
own output follows. Anything the parent writes, and the end of the parent, means: end the server. So a stop
and a crash take the same path.

Why a process in between, and not only PR_SET_PDEATHSIG on the server: that signal fires when the *thread*
that forked ends, needs code between fork and exec in a process with threads, and exists on Linux alone. The
guard has one thread, so here it is safe, and covers the case that parent and guard are killed together.
"""

import os
import select
import signal
import sys
import time
from contextlib import suppress

_CONTROL, _OUTPUT = 0, 1
_PR_SET_PDEATHSIG = 1


def main(parent: int, grace: float, command: list[str]) -> int:
    wakeups = _wake_on({signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
    server = _spawn(command)
    reasons = _ends_of(parent)
    if os.getppid() == parent:
        _announce(server)
        status = _wait(server, wakeups, reasons, grace)
    else:
        status = _end(server, wakeups, grace)  # the parent died before we looked: nobody would ever wake us
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _wake_on(signals: set[signal.Signals]) -> int:
    """A descriptor that becomes readable on any of `signals`; they stay blocked until `_wait` is reached."""
    wakeups, notify = os.pipe()
    os.set_blocking(wakeups, False)
    os.set_blocking(notify, False)
    signal.set_wakeup_fd(notify, warn_on_full_buffer=False)
    # Blocked over the fork, so that a signal to the new child before its exec is delivered, not swallowed.
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    for number in signals:
        signal.signal(number, lambda *_: None)
    return wakeups


def _spawn(command: list[str]) -> int:
    guard = os.getpid()
    libc = None
    if sys.platform == "linux":
        import ctypes

        libc = ctypes.CDLL(None)
    server = os.fork()
    if server:
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        return server
    try:
        if libc is not None:
            libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
        if os.getppid() == guard:  # else the guard died before the prctl, and no signal will come
            _become(command)
    except OSError as error:
        os.write(2, f"cannot execute {command[0]}: {error.strerror}\n".encode())
    os._exit(127)


def _become(command: list[str]) -> None:
    for number in (*signal.pthread_sigmask(signal.SIG_BLOCK, ()), signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.dup2(os.open(os.devnull, os.O_RDONLY), _CONTROL)  # the control channel is the guard's alone
    os.execv(command[0], command)


def _ends_of(parent: int) -> list[int]:
    """What becomes readable when the parent asks for the end, or ends itself."""
    reasons = [_CONTROL]
    if sys.platform == "linux":
        # A child that the parent forked has the other end of the socket too, and may outlive it. A kernel
        # before 5.3 or a sandbox refuses this; then the socket has to do.
        with suppress(OSError):
            reasons.append(os.pidfd_open(parent))
    return reasons


def _announce(server: int) -> None:
    with suppress(OSError):  # the parent has just died: the control channel says so too
        os.write(_OUTPUT, f"{server}\n".encode())


def _wait(server: int, wakeups: int, reasons: list[int], grace: float) -> int:
    while (status := _ended(server)) is None:
        ready, _, _ = select.select([wakeups, *reasons], [], [])
        asked = any(reason in ready for reason in reasons)
        if asked or any(number != signal.SIGCHLD for number in os.read(wakeups, 64)):
            return _end(server, wakeups, grace)
    return status


def _end(server: int, wakeups: int, grace: float) -> int:
    os.kill(server, signal.SIGTERM)  # not reaped yet, so the pid is still its own
    deadline = time.monotonic() + grace
    while (status := _ended(server)) is None:
        if (left := deadline - time.monotonic()) <= 0:
            os.kill(server, signal.SIGKILL)
            return os.waitpid(server, 0)[1]
        if select.select([wakeups], [], [], left)[0]:
            os.read(wakeups, 64)
    return status


def _ended(server: int) -> int | None:
    pid, status = os.waitpid(server, os.WNOHANG)
    return status if pid else None


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]))
