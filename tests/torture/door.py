"""A server's front door: everything passes, until it is slammed, or until nothing passes for a while."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from tempfile import mkdtemp
from threading import Thread
from typing import Any, Self

from psycopg.conninfo import conninfo_to_dict

BLOCK = 65536
NAME = ".s.PGSQL.5432"


class Door:
    """A socket in a folder of its own that leads to PostgreSQL, wherever that is when somebody knocks."""

    def __init__(self, conninfo: Callable[[], str]) -> None:
        self.folder = Path(mkdtemp(prefix="door-"))
        self.folder.chmod(0o755)
        self._conninfo = conninfo
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, daemon=True)
        self._inside: set[asyncio.StreamWriter] = set()
        self._open = asyncio.Event()

    def __enter__(self) -> Self:
        self._thread.start()
        self._do(self._begin())
        return self

    def __exit__(self, *error: object) -> None:
        self.slam()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        shutil.rmtree(self.folder)

    def slam(self) -> int:
        """Cut every connection, without a word to either side; return how many."""
        return self._do(self._slam())

    def hold(self) -> None:
        """Let nothing pass: connections stand, and nobody hears anything."""
        self._do(self._set(open_=False))

    def release(self) -> None:
        """Let pass what has been held, and all that follows."""
        self._do(self._set(open_=True))

    def _do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    async def _begin(self) -> None:
        self._open.set()
        await asyncio.start_unix_server(self._welcome, str(self.folder / NAME))

    async def _set(self, *, open_: bool) -> None:
        if open_:
            self._open.set()
        else:
            self._open.clear()

    async def _slam(self) -> int:
        self._open.set()
        ends = list(self._inside)
        for end in ends:
            end.transport.abort()
        return len(ends) // 2

    async def _welcome(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            server_reader, server_writer = await asyncio.open_unix_connection(self._address())
        except Exception:  # noqa: BLE001  # the server is down: whoever knocks finds the door shut
            writer.transport.abort()
            return
        ends = {writer, server_writer}
        self._inside |= ends
        with suppress(ConnectionError, OSError):
            await asyncio.gather(self._pass(reader, server_writer), self._pass(server_reader, writer))
        self._inside -= ends
        for end in ends:
            end.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(BLOCK):
            await self._open.wait()
            writer.write(data)
            await writer.drain()
        writer.close()

    def _address(self) -> str:
        server = conninfo_to_dict(self._conninfo())
        return f"{server['host']}/.s.PGSQL.{server.get('port') or 5432}"
