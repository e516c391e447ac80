"""A blob store in memory with the operations that a node uses: list, get, put, blocks, errors."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from xml.sax.saxutils import escape

from aiohttp import web

SAS = "sv=1&sig=secret%2Fsignature%3D"


@dataclass(slots=True)
class Blobs:
    """Containers of blobs. ``fail`` contains the statuses of the next replies."""

    url: str = ""
    containers: dict[str, dict[str, bytes]] = field(default_factory=dict)
    headers: dict[str, dict[str, str]] = field(default_factory=dict)
    blocks: dict[tuple[str, str, str], bytes] = field(default_factory=dict)
    fail: list[int] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    page: int = 2

    def container(self, name: str) -> str:
        """The URL of a container, with a SAS."""
        return f"{self.url}/{name}?{SAS}"

    def blob(self, name: str, path: str) -> str:
        """The URL of a blob, with a SAS."""
        return f"{self.url}/{name}/{path}?{SAS}"

    async def answer(self, request: web.Request) -> web.StreamResponse:
        container, _, name = request.path.lstrip("/").partition("/")
        query = request.query
        self.requests.append(f"{request.method} {request.path} {query.get('comp', '')}".strip())
        body = await request.read()
        if self.fail:
            return _refuse(self.fail.pop(0), "Made")
        if query.get("sig") != "secret/signature=":
            return _refuse(403, "AuthenticationFailed")
        if container not in self.containers:
            return _refuse(404, "ContainerNotFound")
        blobs = self.containers[container]
        match request.method, query.get("comp"):
            case "GET", "list":
                return self._list(blobs, query)
            case "GET", None:
                found = blobs.get(name)
                return _refuse(404, "BlobNotFound") if found is None else web.Response(body=found)
            case "PUT", "block":
                self.blocks[container, name, query["blockid"]] = body
            case "PUT", "blocklist":
                ids = body.decode().split("<Latest>")[1:]
                keys = [(container, name, one.partition("<")[0]) for one in ids]
                blobs[name] = b"".join(self.blocks[key] for key in keys)
                self.headers[name] = dict(request.headers)
            case "PUT", None:
                assert request.headers["x-ms-blob-type"] == "BlockBlob"
                blobs[name] = body
                self.headers[name] = dict(request.headers)
        tag = _tag(blobs.get(name, b""))
        return web.Response(status=201, headers={"ETag": f'"{tag}"'})

    def _list(self, blobs: dict[str, bytes], query: Any) -> web.Response:
        names = sorted(name for name in blobs if name.startswith(query.get("prefix", "")))
        start = int(query.get("marker", "0"))
        entries = "".join(
            f"<Blob><Name>{escape(name)}</Name><Properties><Etag>{_tag(blobs[name])}</Etag>"
            "</Properties></Blob>"
            for name in names[start : start + self.page]
        )
        more = str(start + self.page) if start + self.page < len(names) else ""
        text = (
            f"<EnumerationResults><Blobs>{entries}</Blobs>"
            f"<NextMarker>{more}</NextMarker></EnumerationResults>"
        )
        return web.Response(text=text, content_type="application/xml")


def _tag(content: bytes) -> str:
    """The ETag of a blob."""
    return f"0x{zlib.crc32(content):X}"


def _refuse(status: int, code: str) -> web.Response:
    return web.Response(status=status, headers={"x-ms-error-code": code})


@asynccontextmanager
async def blob_store() -> AsyncIterator[Blobs]:
    """A store that listens while the context lasts."""
    blobs = Blobs()
    app = web.Application(client_max_size=1 << 30)
    app.router.add_route("*", "/{path:.*}", blobs.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    blobs.url = f"http://{host}:{port}"
    try:
        yield blobs
    finally:
        await runner.cleanup()
