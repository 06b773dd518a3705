"""The address of a server, and whether it can listen there."""

from __future__ import annotations

import errno
import socket

from mtl.problems import InputError, Problem


def address(host: str, port: int) -> str:
    """Host and port as an URL has them.

    >>> address("127.0.0.1", 5001), address("::1", 5001)
    ('127.0.0.1:5001', '[::1]:5001')
    """
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def require_free_port(host: str, port: int) -> None:
    """Checks that a server can listen at a port, before anything is loaded for it.

    Raises:
        InputError: The port is in use or not allowed, or the host is not an address of this machine.
    """
    if not 0 < port < 1 << 16:
        raise InputError(Problem("--port", f"must be from 1 to 65535, got {port}."))
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do, after an earlier one ended
            probe.bind((host, port))
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            message = f"must be a free port, got {port}, at which another process listens."
            raise InputError(Problem("--port", message, "Choose another port.")) from error
        if error.errno == errno.EACCES:
            raise InputError(Problem("--port", f"must be at least 1024 without privileges, got {port}.")) from error
        message = f"must be a name or an address of this machine, got '{host}'."
        raise InputError(Problem("--host", message, "Leave it out for this machine only.")) from error
