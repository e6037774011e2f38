"""A proxy that cuts connections, between a client and a real server.

It must not know HTTP beyond where an answer begins.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit


class Cutter:
    """Passes bytes on, until it is told to cut."""

    def __init__(self, host: str, port: int) -> None:
        self._to = (host, port)
        self._writers: set[asyncio.StreamWriter] = set()
        self.answers_to_lose = 0
        """So many of the next answers never arrive, though the server gave them."""
        self.lost = 0
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there_reader, there_writer = await asyncio.open_connection(*self._to)
        except OSError:
            writer.close()
            return
        self._writers |= {writer, there_writer}
        try:
            await asyncio.gather(self._ask(reader, there_writer), self._answer(there_reader, writer))
        finally:
            for one in (writer, there_writer):
                one.close()
                self._writers.discard(one)

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                if self.answers_to_lose:
                    self.answers_to_lose -= 1
                    self.lost += 1
                    break
                writer.write(data)
                await writer.drain()
        writer.close()

    def cut(self) -> None:
        """Cut every connection there is."""
        for writer in self._writers:
            writer.transport.abort()


@asynccontextmanager
async def cutting(url: str) -> AsyncIterator[Cutter]:
    """A proxy in front of the server at `url`."""
    parts = urlsplit(url)
    cutter = Cutter(str(parts.hostname), int(parts.port or 80))
    server = await asyncio.start_server(cutter.serve, "127.0.0.1", 0)
    async with server:
        cutter.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield cutter
        cutter.cut()
