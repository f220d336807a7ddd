"""TCP ports of this machine."""

from __future__ import annotations

import socket

from demo.errors import StackError

HOST = "127.0.0.1"


def require_free(port: int) -> None:
    """Raise when another program listens on the port, and say what to do."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port just given back is free
        try:
            probe.bind((HOST, port))
        except OSError as error:
            advice = f"choose another one: make up PORT={port + 10}"
            raise StackError(f"Port {port} is taken by another program; {advice}") from error


def free_port() -> int:
    """Return a port on which nobody listens now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
