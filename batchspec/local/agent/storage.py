"""Blob storage of nodes: a client, and access derived from the key of the storage account.

The access replaces auto-storage keys and managed identities. For a container of the account's own
storage, nodes get a service SAS; a URL of other storage stays unchanged. URLs contain their
credentials; errors contain no URL.
"""

from __future__ import annotations

import asyncio
import base64
import os
import re
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar
from urllib.parse import SplitResult, quote, urlencode, urlsplit, urlunsplit
from xml.etree import ElementTree

import aiohttp
from aiohttp.abc import ResolveResult
from yarl import URL

from batchspec.local.sas import account_sas, delegated_sas, sas_time, service_sas
from batchspec.local.settings import FULL_ACCESS, IdentityRights

_LIFETIME = timedelta(days=7)
_MOUNT_LIFETIME = timedelta(days=3650)
_SKEW = timedelta(minutes=15)
_ALL, _ALL_AND_DELETE = "racwl", "racwdl"


def _now() -> datetime:
    return datetime.now(UTC)


class StorageAccess(Protocol):
    """The access of nodes to storage: URLs with a credential."""

    def container(self, name: str) -> str | None:
        """The URL of a container of the auto-storage account, to read, list and write.

        ``None`` without an auto-storage account.
        """

    def mount(self, account: str, name: str, key: str | None, sas: str | None) -> str | None:
        """The URL of a container of the account's own storage for a mount with these credentials.

        ``None`` for another account or a wrong ``key``. Without a key and a SAS, the mount uses the
        managed identity of the nodes.
        """

    def identity(self, url: str) -> str:
        """``url`` with the credential of the managed identity of the nodes."""

    def allows(self, identity: str, url: str, *, write: bool) -> bool:
        """Whether a managed identity may read the container of ``url``, or ``write`` to it."""


@dataclass(frozen=True, slots=True)
class NoAutoStorage:
    """Access of an account without a storage account."""

    def container(self, name: str) -> str | None:  # noqa: ARG002  the protocol's
        """``None``, since the account has no auto-storage account."""
        return None

    def mount(
        self,
        account: str,  # noqa: ARG002  the protocol's
        name: str,  # noqa: ARG002
        key: str | None,  # noqa: ARG002
        sas: str | None,  # noqa: ARG002
    ) -> str | None:
        """``None``, since the account has no storage account."""
        return None

    def identity(self, url: str) -> str:
        """The unchanged URL."""
        return url

    def allows(
        self,
        identity: str,  # noqa: ARG002  the protocol's
        url: str,  # noqa: ARG002
        *,
        write: bool,  # noqa: ARG002
    ) -> bool:
        """``True``; other storage checks the rights itself."""
        return True


@dataclass(frozen=True, slots=True)
class NodeStorage:
    """The storage access of the nodes of one pool.

    ``attached`` are the resource ids of the managed identities of the pool.
    """

    access: StorageAccess
    attached: tuple[str, ...] = ()

    def container(self, name: str) -> str | None:
        """A container of the auto-storage account; ``None`` without one."""
        return self.access.container(name)

    def identity(self, url: str, reference: Mapping[str, Any], *, write: bool) -> str:
        """``url`` with the credential of the managed identity that a task references.

        Raises:
            StorageError: 403; the pool does not have the identity, or the identity lacks the right.
        """
        name = reference.get("resourceId", "")
        if name.lower() not in {each.lower() for each in self.attached}:
            raise StorageError(403, "IdentityNotFound")
        if not self.access.allows(name, url, write=write):
            raise StorageError(403, "AuthorizationPermissionMismatch")
        return self.access.identity(url)


@dataclass(frozen=True, slots=True)
class StorageAccount:
    """A storage account and its key.

    ``endpoint`` is the blob endpoint that nodes use, ``aliases`` are its other addresses, all
    without a trailing slash. ``rights`` are the rights of managed identities. With a ``token``, the
    account refuses its key: identities sign with user delegation keys, and the Batch account itself
    sends the token.
    """

    name: str
    endpoint: str
    key: str = field(repr=False)
    aliases: tuple[str, ...] = ()
    now: Callable[[], datetime] = field(default=_now, repr=False)
    rights: IdentityRights = FULL_ACCESS
    token: str = field(repr=False, default="")

    @classmethod
    def read(
        cls,
        connection_string: str,
        aliases: tuple[str, ...] = (),
        rights: IdentityRights = FULL_ACCESS,
        token: str = "",
    ) -> Self:
        """The account of a connection string, which must have a ``BlobEndpoint``.

        Raises:
            ValueError: a part is missing; the message does not contain the string.
        """
        parts: Mapping[str, str] = dict(
            entry.split("=", 1) for entry in connection_string.split(";") if "=" in entry
        )
        try:
            name, key = parts["AccountName"], parts["AccountKey"]
            endpoint = parts["BlobEndpoint"].rstrip("/")
            return cls(name, endpoint, key, aliases, rights=rights, token=token)
        except KeyError as error:
            raise ValueError(f"the connection string has no {error.args[0]}") from None

    def container(self, name: str) -> str | None:
        """The URL of a container of this account, with a SAS to read, list and write."""
        return f"{self.endpoint}/{name}?{self._sas(name)}"

    def mount(self, account: str, name: str, key: str | None, sas: str | None) -> str | None:
        """The URL of a container with a SAS; ``None`` for another account or a wrong key."""
        if account.lower() != self.name.lower() or (key is not None and key != self.key):
            return None
        if sas is not None:
            return f"{self.endpoint}/{name}?{sas.removeprefix('?')}"
        # A mount lasts as long as its node, and tasks can delete its files.
        expiry = sas_time(self.now() + _MOUNT_LIFETIME)
        signer = self if key is None else replace(self, token="")
        return f"{self.endpoint}/{name}?{signer._signed(name, 'c', _ALL_AND_DELETE, '', expiry)}"

    def identity(self, url: str) -> str:
        """``url`` with a SAS if it is in this account and has no query."""
        container = self._container_of(url)
        if container is None or (parts := _split(url)).query:
            return url
        return urlunsplit(parts._replace(query=self._sas(container)))

    def allows(self, identity: str, url: str, *, write: bool) -> bool:
        """Whether an identity has the right; other accounts check this themselves."""
        container = self._container_of(url)
        return container is None or self.rights.allow(identity, container, write=write)

    def _container_of(self, url: str) -> str | None:
        """The name of the container of a URL; ``None`` if it is in another account."""
        for endpoint in (self.endpoint, *self.aliases):
            if url.startswith(endpoint + "/"):
                return re.split(r"[/?]", url[len(endpoint) + 1 :], maxsplit=1)[0]
        return None

    def blob(
        self, container: str, name: str, permissions: str, start: datetime, expiry: datetime
    ) -> str:
        """The URL of a blob of this account, with a SAS for this blob unless keys are refused."""
        url = f"{self.endpoint}/{container}/{quote(name, safe='')}"
        if self.token:
            return url
        place = f"{container}/{name}"
        return f"{url}?{self._signed(place, 'b', permissions, sas_time(start), sas_time(expiry))}"

    def administration(self, container: str) -> str:
        """The URL of a container, with an account SAS to create and delete blobs and the container
        unless keys are refused.
        """
        url = f"{self.endpoint}/{container}?restype=container"
        if self.token:
            return url
        expiry = sas_time(self.now() + _LIFETIME)
        return f"{url}&{account_sas(self.name, self.key, 'cwd', 'co', expiry)}"

    def _sas(self, container: str) -> str:
        return self._signed(container, "c", _ALL, "", sas_time(self.now() + _LIFETIME))

    def _signed(self, place: str, kind: str, permissions: str, start: str, expiry: str) -> str:
        resource = f"/blob/{self.name}/{place}"
        if self.token:
            validity = sas_time(self.now() - _SKEW), expiry
            return delegated_sas(self.key, resource, kind, permissions, validity)
        return service_sas(self.key, resource, kind, permissions, (start, expiry))


# Unlike ``cloud``, this client does not use azure-storage-blob, whose import takes half as long as
# the import of the whole service. It also streams to file descriptors that the node has opened
# safely (docs/adr/0012-own-parts-of-the-embedded-service.md).

_VERSION = "2023-11-03"
_CHUNK = 1 << 18
MAX_SINGLE_UPLOAD = 8 << 20
"""Maximum size in bytes of a file in one request; larger files are uploaded in blocks."""
_MAX_BLOCKS = 50_000
_ATTEMPTS = 4
_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=15, sock_read=60)
_RETRY_STATUSES = {408, 429, 500, 502, 503, 504}

T = TypeVar("T")


class StorageError(Exception):
    """The service refused a request: ``status`` (0 without a response) and its error ``code``."""

    def __init__(self, status: int, code: str) -> None:
        super().__init__(f"{status} {code}")
        self.status = status
        self.code = code


class StorageTimeoutError(StorageError):
    """The response did not arrive in time."""


def blob_url(container: str, name: str) -> str:
    """The URL of a blob in the container at the URL ``container``, with the same credential.

    Raises:
        StorageError: ``container`` is not a URL.
    """
    url = _split(container)
    path = url.path.rstrip("/") + "/" + quote(name, safe="/~")
    return urlunsplit(url._replace(path=path))


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:  # the parser's message contains parts of the URL
        raise StorageError(0, "InvalidUrl") from None


def _with_query(url: str, **more: str) -> str:
    parts = _split(url)
    query = "&".join(filter(None, (parts.query, urlencode(more))))
    return urlunsplit(parts._replace(query=query))


class _Resolver(aiohttp.ThreadedResolver):
    """The system's resolver, with the loopback address for all names below ``localhost``.

    RFC 6761 reserves these names for the loopback address, but some resolvers, such as Debian's, do
    not resolve them.
    """

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        if host.endswith(".localhost"):
            host = "127.0.0.1"
        return await super().resolve(host, port, family)


class BlobClient:
    """A client with one connection pool, which retries transient errors a few times."""

    def __init__(
        self,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
        authority: Path | None = None,
        token: str = "",
    ) -> None:
        """``authority`` is a trusted certificate in addition to the certificates of the system.

        Every request carries the bearer ``token``, unless it is empty.
        """
        self._pause = pause
        self._authority = authority
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def list_blobs(self, container: str, prefix: str) -> AsyncIterator[str]:
        """The names of the blobs that start with ``prefix``, page by page.

        Raises:
            StorageError: the container cannot be listed.
        """
        async for blob in self._list(container, prefix):
            yield blob.findtext("Name") or ""

    async def list_tags(self, container: str) -> AsyncIterator[tuple[str, str]]:
        """The names of all blobs with their ETags.

        Raises:
            StorageError: the container cannot be listed.
        """
        async for blob in self._list(container, ""):
            yield blob.findtext("Name") or "", _bare(blob.findtext("Properties/Etag"))

    async def _list(self, container: str, prefix: str) -> AsyncIterator[ElementTree.Element]:
        more = {"restype": "container", "comp": "list", "maxresults": "5000"}
        if prefix:
            more["prefix"] = prefix
        while True:
            body = await self._try(partial(self._get, _with_query(container, **more)))
            try:
                # Python's expat refuses exponential entity expansion.
                page = ElementTree.fromstring(body)  # noqa: S314
            except ElementTree.ParseError:
                raise StorageError(200, "the list of blobs is not XML") from None
            for blob in page.iter("Blob"):
                yield blob
            marker = page.findtext("NextMarker")
            if not marker:
                return
            more["marker"] = marker

    async def download(self, url: str, target: int) -> None:
        """Write the content of ``url`` to the descriptor ``target``, from its start.

        Raises:
            StorageError: the blob cannot be read.
            OSError: the file cannot be written.
        """

        async def fetch() -> None:
            os.lseek(target, 0, os.SEEK_SET)
            os.ftruncate(target, 0)
            async with self._open().get(URL(url, encoded=True)) as answer:
                _check(answer)
                async for chunk in answer.content.iter_chunked(_CHUNK):
                    _write_all(target, chunk)

        await self._try(fetch)

    async def upload(self, source: int, url: str, headers: Mapping[str, str]) -> str:
        """Upload the descriptor ``source`` to the blob at ``url``, in blocks if it is large.

        Returns the ETag of the blob.

        Raises:
            StorageError: the blob cannot be written.
            OSError: the file cannot be read.
        """
        size = (await asyncio.to_thread(os.fstat, source)).st_size
        if size <= MAX_SINGLE_UPLOAD:
            data = await asyncio.to_thread(os.pread, source, size, 0)
            return await self.upload_bytes(data, url, headers)
        length = max(MAX_SINGLE_UPLOAD, -(-size // _MAX_BLOCKS))
        names = []
        for number, start in enumerate(range(0, size, length)):
            name = base64.b64encode(f"{number:08}".encode()).decode()
            names.append(name)
            block = await asyncio.to_thread(os.pread, source, length, start)
            place = _with_query(url, comp="block", blockid=name)
            await self._try(partial(self._put, place, block, {}))
        listing = "".join(f"<Latest>{name}</Latest>" for name in names)
        body = f'<?xml version="1.0" encoding="utf-8"?><BlockList>{listing}</BlockList>'.encode()
        place = _with_query(url, comp="blocklist")
        return await self._try(partial(self._put, place, body, headers))

    async def upload_bytes(self, data: bytes, url: str, headers: Mapping[str, str]) -> str:
        """As :meth:`upload`, in one request."""
        typed = {**headers, "x-ms-blob-type": "BlockBlob"}
        return await self._try(partial(self._put, url, data, typed))

    async def create_container(self, url: str) -> None:
        """Create the container at ``url`` with ``restype=container``, if it does not exist.

        Raises:
            StorageError: the container cannot be created.
        """
        try:
            await self._try(partial(self._put, url, b"", {}))
        except StorageError as error:
            if error.code != "ContainerAlreadyExists":
                raise

    async def delete(self, url: str) -> None:
        """Delete the blob at ``url``, if it exists, or the container with ``restype=container``.

        Raises:
            StorageError: the blob or the container cannot be deleted.
        """

        async def attempt() -> None:
            headers = {"x-ms-version": _VERSION}
            async with self._open().delete(URL(url, encoded=True), headers=headers) as answer:
                if answer.status != 404:
                    _check(answer)

        await self._try(attempt)

    async def _get(self, url: str) -> bytes:
        headers = {"x-ms-version": _VERSION}
        async with self._open().get(URL(url, encoded=True), headers=headers) as answer:
            _check(answer)
            return await answer.read()

    async def _put(self, url: str, data: bytes, headers: Mapping[str, str]) -> str:
        sent = {"x-ms-version": _VERSION, **headers}
        async with self._open().put(URL(url, encoded=True), data=data, headers=sent) as answer:
            _check(answer)
            return _bare(answer.headers.get("ETag"))

    async def _try(self, attempt: Callable[[], Awaitable[T]]) -> T:
        for left in reversed(range(_ATTEMPTS)):
            try:
                return await attempt()
            except StorageError as error:
                if error.status not in _RETRY_STATUSES or not left:
                    raise
            except TimeoutError:
                if not left:
                    raise StorageTimeoutError(0, "no answer in time") from None
            except aiohttp.ClientError as error:
                if not left or isinstance(error, aiohttp.InvalidURL):
                    # The text of the error can contain the URL with a signature.
                    raise StorageError(0, type(error).__name__) from None
            except ValueError:  # not a URL; the parser's message contains it
                raise StorageError(0, "InvalidUrl") from None
            await self._pause(0.2 * 2 ** (_ATTEMPTS - left))
        raise AssertionError("the last attempt returns or raises")

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=_TIMEOUT,
                connector=aiohttp.TCPConnector(
                    limit=32, ssl=self._tls() or True, resolver=_Resolver()
                ),
                auto_decompress=False,
                headers={"Accept-Encoding": "identity", **self._headers},
            )
        return self._session

    def _tls(self) -> ssl.SSLContext | None:
        if self._authority is None:
            return None
        context = ssl.create_default_context()
        context.load_verify_locations(self._authority)
        return context


def _bare(tag: str | None) -> str:
    """An ETag without its quotes, as in lists of blobs."""
    return (tag or "").strip('"')


def _check(answer: aiohttp.ClientResponse) -> None:
    if answer.status >= 300:
        code = answer.headers.get("x-ms-error-code", answer.reason or "")
        raise StorageError(answer.status, code)


def _write_all(target: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(target, view) :]
