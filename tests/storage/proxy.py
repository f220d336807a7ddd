"""A server's front door that can fall shut at the commit."""

from __future__ import annotations

import shutil
import socket
from pathlib import Path
from tempfile import mkdtemp
from threading import Thread
from typing import Self

from psycopg.conninfo import conninfo_to_dict, make_conninfo

COMMIT = b"COMMIT"


class CuttingProxy:
    """Passes everything on until a COMMIT after `armed_by`: then the connection is gone, once.

    `lost` says what is lost with it: the `answer` of a commit that the server did, or the `request`.
    """

    def __init__(self, conninfo: str, *, lost: str, armed_by: bytes) -> None:
        server = conninfo_to_dict(conninfo)
        self._folder = Path(mkdtemp(prefix="proxy-"))
        port = server.get("port") or 5432
        self._server = f"{server['host']}/.s.PGSQL.{port}"
        self._door = self._folder / f".s.PGSQL.{port}"
        self._lost, self._armed_by = lost, armed_by
        self.conninfo = make_conninfo(conninfo, host=str(self._folder), gssencmode="disable")
        self.cuts = 0

    def __enter__(self) -> Self:
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self._door))
        self._listener.listen()
        Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        shutil.rmtree(self._folder)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            server.connect(self._server)
            silenced: list[bool] = []
            Thread(target=self._listen, args=(client, server, silenced), daemon=True).start()
            Thread(target=self._answer, args=(client, server, silenced), daemon=True).start()

    def _listen(self, client: socket.socket, server: socket.socket, silenced: list[bool]) -> None:
        armed = False
        while data := _received(client):
            armed = armed or self._armed_by in data
            if armed and COMMIT in data and not self.cuts:
                self.cuts += 1
                silenced.append(True)
                if self._lost == "request":
                    break
            server.sendall(data)
        _shut(server, client)

    def _answer(self, client: socket.socket, server: socket.socket, silenced: list[bool]) -> None:
        while data := _received(server):
            if silenced:
                break
            client.sendall(data)
        _shut(client, server)


def _received(end: socket.socket) -> bytes:
    try:
        return end.recv(65536)
    except OSError:
        return b""


def _shut(*ends: socket.socket) -> None:
    for end in ends:
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            continue
        end.close()
