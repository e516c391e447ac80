"""The socket that a service is asked at: of this machine alone."""

from __future__ import annotations

import ipaddress
import socket


class NotLoopbackError(Exception):
    """The address is not one of this machine alone: the service would be open to others."""


def listen(port: int = 0, host: str = "127.0.0.1") -> socket.socket:
    """A socket that listens on ``host`` (a loopback address); port 0 takes a free one.

    Raises:
        NotLoopbackError: ``host`` is no loopback address.
        OSError: the port is taken.
    """
    if not ipaddress.ip_address(host).is_loopback:
        raise NotLoopbackError(host)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named, asyncio sees TCP in what it accepts and turns off Nagle's waiting,
    # which costs each reply 40 ms.
    found = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind((host, port))
        found.listen(1024)
        found.setblocking(False)
    except OSError:
        found.close()
        raise
    return found


def url_of(listening: socket.socket) -> str:
    """The URL of a socket, without a slash at its end."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
