"""MCP over the standard streams: one JSON-RPC message a line, and nothing else on stdout, whoever prints.

It must not know tools, nor when the process is to end before its input does.
"""

import asyncio
import logging
import os
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp import types
from mcp.server.lowlevel import Server
from mcp.shared.message import SessionMessage
from pydantic import ValidationError

_STDIN, _STDOUT, _STDERR = 0, 1, 2
_CHUNK = 64 * 1024

_log = logging.getLogger(__name__)


@contextmanager
def private_streams() -> Iterator[tuple[int, int]]:
    """Descriptors of what stdin and stdout were. Until the end stdin is empty and stdout is stderr: whatever prints,
    a child process too, misses the wire."""
    with _taken(_STDIN, os.open(os.devnull, os.O_RDONLY)) as source, _taken(_STDOUT, os.dup(_STDERR)) as sink:
        try:
            yield source, sink
        finally:
            sys.stdout.flush()  # what was printed but not yet written is no message either


async def serve_stdio(server: Server[Any], source: int, sink: int, *, grace: float) -> None:
    """Serve one client until its input ends; what it has asked by then is answered within `grace` seconds."""
    wire = _Wire()

    async def read() -> None:
        async with wire.read_in, wire.aside:
            async for line in _lines(source):
                await wire.take(line)
            await wire.answered(grace)

    async def write() -> None:
        try:
            await wire.write(sink)
        except BrokenPipeError:
            _log.warning("the client reads no more")
            group.cancel_scope.cancel()

    async with anyio.create_task_group() as group:
        group.start_soon(read)
        group.start_soon(write)
        await server.run(wire.inbox, wire.outbox, server.create_initialization_options())


class _Wire:
    """The streams that the server holds, and which of the client's requests have no answer yet."""

    def __init__(self) -> None:
        self.read_in, self.inbox = _channel()
        self.outbox, self._written_out = _channel()
        self.aside = self.outbox.clone()
        self._unanswered: set[Any] = set()
        self._settled = asyncio.Event()

    async def take(self, line: bytes) -> None:
        """One line of the client."""
        try:
            message = types.jsonrpc_message_adapter.validate_json(line, by_name=False)
        except ValidationError as error:
            _log.warning("a line of %d bytes is not a JSON-RPC message", len(line))
            await self.aside.send(SessionMessage(_not_understood(error)))
            return
        if isinstance(message, types.JSONRPCRequest):
            self._unanswered.add(message.id)
        elif isinstance(message, types.JSONRPCNotification) and message.method == "notifications/cancelled":
            self._settle((message.params or {}).get("requestId"))
        await self.read_in.send(SessionMessage(message))

    async def write(self, sink: int) -> None:
        """Write what the server says until it has no more to say."""
        async with self._written_out:
            async for one in self._written_out:
                line = one.message.model_dump_json(by_alias=True, exclude_unset=True).encode() + b"\n"
                await asyncio.to_thread(_write_all, sink, line)
                if isinstance(one.message, types.JSONRPCResponse | types.JSONRPCError):
                    self._settle(one.message.id)

    async def answered(self, within: float) -> None:
        """Return when no request is open, or the time is over."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within):
                while self._unanswered:
                    await self._settled.wait()
                    self._settled.clear()

    def _settle(self, request: Any) -> None:
        self._unanswered.discard(request)
        self._settled.set()


def _not_understood(error: ValidationError) -> types.JSONRPCError:
    is_json = error.errors(include_url=False, include_input=False)[0]["type"] != "json_invalid"
    code, what = (types.INVALID_REQUEST, "JSON-RPC") if is_json else (types.PARSE_ERROR, "JSON")
    return types.JSONRPCError(
        jsonrpc="2.0", id=None, error=types.ErrorData(code=code, message=f"This line is not a message of {what}")
    )


async def _lines(source: int) -> AsyncIterator[bytes]:
    """Lines of a descriptor of any kind. The thread that waits for them does not hold up the end of the process."""
    loop = asyncio.get_running_loop()
    chunks: asyncio.Queue[bytes] = asyncio.Queue()
    wanted = threading.Semaphore(1)  # one chunk ahead: a client that asks faster than it is served is held up

    def read() -> None:
        chunk = b"?"
        while chunk:
            wanted.acquire()
            chunk = _read(source)
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(chunks.put_nowait, chunk)

    threading.Thread(target=read, name="durable_tasks stdin", daemon=True).start()
    begun = bytearray()
    while chunk := await chunks.get():
        wanted.release()
        begun += chunk
        if b"\n" in chunk:
            *whole, rest = bytes(begun).split(b"\n")
            begun = bytearray(rest)
            for line in filter(bytes.strip, whole):
                yield line
    if begun.strip():
        yield bytes(begun)


def _read(source: int) -> bytes:
    """b"" at the end, and when there is nothing to be read any more for another reason."""
    try:
        return os.read(source, _CHUNK)
    except OSError as error:
        _log.warning("stdin cannot be read: %s", error)
        return b""


def _write_all(sink: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(sink, left) :]


@contextmanager
def _taken(standard: int, stand_in: int) -> Iterator[int]:
    private = os.dup(standard)
    os.dup2(stand_in, standard)
    os.close(stand_in)
    try:
        yield private
    finally:
        os.dup2(private, standard)


def _channel() -> tuple[MemoryObjectSendStream[Any], MemoryObjectReceiveStream[Any]]:
    return anyio.create_memory_object_stream[Any](0)
