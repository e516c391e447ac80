"""The HTTP side of the Batch service: ASGI application, fault injection, server.

In: a `Context` of the API and a loopback socket. Out: replies to authenticated requests. What an
operation does belongs to the package ``api``.
"""

from batchspec.local.http.app import App
from batchspec.local.http.server import (
    HttpsSocket,
    NotLoopbackError,
    TlsFiles,
    listen,
    serving,
    url_of,
)

__all__ = [
    "App",
    "HttpsSocket",
    "NotLoopbackError",
    "TlsFiles",
    "listen",
    "serving",
    "url_of",
]
