"""Put Blob, Get Blob and List Blobs as single requests, through a short pipeline.

The convenience methods of the SDK take most of the time of a small file: they create a client for
each blob and serialize some forty options, the pipeline has sixteen policies, and responses copy
their headers into a dictionary that is written in Python. A download of the SDK reads a blob by
ranges into memory; here it is one stream. A listing of the SDK fills some fifty attributes of each
blob, which takes ten times as long as parsing the XML (``benchmarks/rows_transfers.py``).
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import copy
import hashlib
import hmac
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from email.utils import formatdate
from itertools import pairwise
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlencode
from xml.etree import ElementTree

import aiohttp
from azure.core.exceptions import (
    DecodeError,
    HttpResponseError,
    IncompleteReadError,
    ServiceRequestError,
    ServiceRequestTimeoutError,
    ServiceResponseError,
    ServiceResponseTimeoutError,
)
from azure.core.pipeline import PipelineContext, PipelineRequest, PipelineResponse
from azure.core.pipeline.policies import AsyncHTTPPolicy
from azure.storage.blob._shared.authentication import SharedKeyCredentialPolicy
from yarl import URL

from batchspec.cloud.pipeline import USER_AGENT, RetryPolicy
from batchspec.frozen import frozen
from batchspec.plan.observed import LocalFile

if TYPE_CHECKING:
    from azure.core.pipeline.transport import AioHttpTransport
    from azure.storage.blob.aio import BlobServiceClient

_DEFAULT_TYPE = "application/octet-stream"

_PAGE = 5000
"""How many blobs a response lists; the largest number that the service accepts."""


@frozen
class ListedBlob:
    """A blob of a listing; ``md5`` is in Base64 and ``modified`` an HTTP date, empty if absent.

    ``tier`` is the access tier. ``directory``: an account with a hierarchical namespace lists this
    directory as a blob.
    """

    name: str
    size: int
    md5: str
    modified: str
    metadata: Mapping[str, str]
    tier: str
    directory: bool


@contextlib.contextmanager
def _sdk_errors() -> Iterator[None]:
    """Raise the exceptions of aiohttp as those that the SDK raises for them."""
    try:
        yield
    except aiohttp.ClientPayloadError as error:
        raise IncompleteReadError(error, error=error) from error
    except aiohttp.ClientResponseError as error:
        raise ServiceResponseError(error, error=error) from error
    except aiohttp.ConnectionTimeoutError as error:
        raise ServiceRequestTimeoutError(error, error=error) from error
    except TimeoutError as error:
        raise ServiceResponseTimeoutError(error, error=error) from error
    except aiohttp.ClientError as error:
        raise ServiceRequestError(error, error=error) from error


class BlobResponse:
    """A response, as the policies of the SDK expect it; ``content`` is empty until it is read.

    The bytes are those that the service stores, even of a blob with a Content-Encoding, because the
    listing contains their length and MD5.
    """

    __slots__ = ("_response", "content", "headers", "location_mode", "reason", "status_code")

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.status_code = response.status
        self.reason = response.reason
        self.headers: Mapping[str, str] = response.headers
        self.content = b""
        self.location_mode = ""

    async def read(self) -> bytes:
        """The whole body.

        Raises:
            AzureError: the response was interrupted.
        """
        with _sdk_errors():
            self.content = await self._response.read()
        return self.content

    async def read_part(self) -> bytes:
        """The bytes that have arrived, without a copy; empty at the end of the body.

        Raises:
            AzureError: the response was interrupted.
        """
        with _sdk_errors():
            data, _ = await self._response.content.readchunk()
        return data

    async def close(self) -> None:
        """Return the connection to the pool, or close it if the body has not been read."""
        self._response.close()


class _Request:
    """A request, as the policies of the SDK expect it; ``url`` is the URL that is sent."""

    __slots__ = ("content", "headers", "method", "target", "url")

    def __init__(
        self, method: str, target: URL, headers: dict[str, str], content: bytes | None
    ) -> None:
        self.method = method
        self.target = target
        self.url = str(target)
        self.headers = headers
        self.content = content


class _Sender(AsyncHTTPPolicy[Any, Any]):
    """The last policy: sends requests with the connections and the timeouts of an SDK client."""

    def __init__(self, sdk: Any) -> None:
        super().__init__()
        self._sdk: AioHttpTransport = sdk
        config = self._sdk.connection_config
        self._options: dict[str, Any] = {
            "timeout": aiohttp.ClientTimeout(
                sock_connect=config.timeout, sock_read=config.read_timeout
            ),
            "allow_redirects": False,
            # Azure Storage signs the header, and aiohttp adds it to requests without content.
            "skip_auto_headers": ("Content-Type",),
            "ssl": self._sdk._build_ssl_config(cert=config.cert, verify=config.verify),
        }

    async def send(self, request: PipelineRequest[Any]) -> PipelineResponse[Any, Any]:
        session: aiohttp.ClientSession = self._sdk.session
        sent: _Request = request.http_request
        with _sdk_errors():
            response = BlobResponse(
                await session.request(
                    sent.method,
                    sent.target,
                    headers=sent.headers,
                    data=sent.content,
                    **self._options,
                )
            )
        # Read here, so that the request is repeated if its response is interrupted.
        if not request.context.options["stream"]:
            await response.read()
        return PipelineResponse(sent, response, request.context)


class _Attempt(AsyncHTTPPolicy[Any, Any]):
    """Sets the headers of one attempt: the service refuses a date older than 15 minutes.

    ``given`` are the headers of every request of the client.
    """

    def __init__(self, given: Mapping[str, str], sign: Callable[[_Request], None] | None) -> None:
        super().__init__()
        self._given = given
        self._sign = sign

    async def send(self, request: PipelineRequest[Any]) -> PipelineResponse[Any, Any]:
        sent: _Request = request.http_request
        sent.headers["x-ms-date"] = formatdate(time.time(), usegmt=True)
        sent.headers["x-ms-client-request-id"] = str(uuid.uuid4())
        sent.headers.update(self._given)
        if self._sign is not None:
            self._sign(sent)
        return await self.next.send(request)


_SIGNED = (
    "Content-Encoding",
    "Content-Language",
    "Content-Length",
    "Content-MD5",
    "Content-Type",
    "Date",
    "If-Modified-Since",
    "If-Match",
    "If-None-Match",
    "If-Unmodified-Since",
    "Range",
)
"""The headers of the string to sign, in its order (REST reference, Authorize with Shared Key)."""


class _SharedKey:
    """Signs a request with the key of the account; all headers are written as in the reference."""

    def __init__(self, account: str, key: str) -> None:
        self._account = account
        self._keyed = hmac.new(base64.b64decode(key), digestmod=hashlib.sha256)

    def __call__(self, request: _Request) -> None:
        headers, target = request.headers, request.target
        lines = [request.method, *(headers.get(name, "") for name in _SIGNED)]
        if lines[3] == "0":
            lines[3] = ""
        names = sorted(name for name in headers if name.startswith("x-ms-"))
        lines += [f"{name}:{headers[name]}" for name in names]
        lines.append(f"/{self._account}{target.raw_path}")
        if target.raw_query_string:
            lines += [f"{name.lower()}:{value}" for name, value in sorted(target.query.items())]
        keyed = self._keyed.copy()
        keyed.update("\n".join(lines).encode())
        signature = base64.b64encode(keyed.digest()).decode("ascii")
        headers["Authorization"] = f"SharedKey {self._account}:{signature}"


class BlobRequests:
    """Requests for single blobs of one account, over the connections of ``service``."""

    def __init__(self, service: BlobServiceClient, retry: RetryPolicy) -> None:
        self._service = service
        self._base = service.url.rstrip("/")
        # The SDK has no public names for its connections, its headers, and the policy that signs.
        sdk: Any = service
        signing: Any = sdk._credential_policy
        key = isinstance(signing, SharedKeyCredentialPolicy)
        sign = _SharedKey(signing.account_name, signing.account_key) if key else None
        policies: list[Any] = [retry, _Attempt(sdk._config.headers_policy.headers, sign)]
        if signing is not None and not key:
            # A policy belongs to one pipeline.
            policies.append(copy.copy(signing))
        policies.append(_Sender(sdk._pipeline._transport))
        for policy, following in pairwise(policies):
            policy.next = following
        self._first = retry

    async def put(self, container: str, file: LocalFile, data: bytes) -> None:
        """Write a block blob with the content of a file. The service checks and stores its MD5.

        Raises:
            AzureError: the service refused, or did not answer.
        """
        md5 = base64.b64encode(file.md5).decode("ascii")
        headers = {
            "x-ms-blob-type": "BlockBlob",
            "x-ms-blob-content-type": file.content_type or _DEFAULT_TYPE,
            "x-ms-blob-content-md5": md5,
            "Content-MD5": md5,
            "Content-Length": str(len(data)),
            "Content-Type": _DEFAULT_TYPE,
        }
        response = await self._send("PUT", f"{container}/{file.blob}", headers, data)
        if response.status_code != 201:
            raise _error(response)

    async def get(
        self, container: str, name: str, *, start: int = 0, etag: str = ""
    ) -> BlobResponse:
        """The response with the bytes of a blob from ``start`` on. The caller reads and closes it.

        With an ``etag``, only this version of the blob is accepted.

        Raises:
            AzureError: the service refused, or did not answer.
        """
        headers = {}
        if start:
            headers["x-ms-range"] = f"bytes={start}-"
        if etag:
            headers["If-Match"] = etag
        response = await self._send("GET", f"{container}/{name}", headers, stream=True)
        if response.status_code not in (200, 206):
            await response.read()
            raise _error(response)
        return response

    async def list(self, container: str, prefix: str) -> AsyncIterator[ListedBlob]:
        """The blobs of a container whose names start with ``prefix``, in pages of the service.

        The next page is requested while the blobs of a page are read.

        Raises:
            AzureError: the service refused the request or did not reply, or a reply is not a
                listing.
        """
        query = {"restype": "container", "comp": "list", "include": "metadata"}
        query["maxresults"] = str(_PAGE)
        if prefix:
            query["prefix"] = prefix
        following: asyncio.Task[BlobResponse] | None
        following = asyncio.create_task(self._send("GET", container, {}, query=query))
        try:
            while following is not None:
                response = await following
                following = None
                if response.status_code != 200:
                    raise _error(response)
                if marker := _next_marker(response.content):
                    more = {**query, "marker": marker}
                    following = asyncio.create_task(self._send("GET", container, {}, query=more))
                    await asyncio.sleep(0)  # sends the request
                for blob in _listed(response):
                    yield blob
        finally:
            if following is not None:
                following.cancel()
                await asyncio.wait([following])
                if not following.cancelled():
                    following.exception()  # its error has no effect

    async def _send(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        data: bytes | None = None,
        *,
        query: Mapping[str, str] | None = None,
        stream: bool = False,
    ) -> BlobResponse:
        url = f"{self._base}/{quote(path, safe='~/')}"
        if query:
            url += f"?{urlencode(query, quote_via=quote)}"
        headers = {"x-ms-version": self._service.api_version, "User-Agent": USER_AGENT, **headers}
        request: Any = _Request(method, URL(url), headers, data)
        context = PipelineContext(None, stream=stream)
        response: BlobResponse
        response = (await self._first.send(PipelineRequest(request, context))).http_response
        return response


_MARKER, _MARKER_END = b"<NextMarker>", b"</NextMarker>"


def _next_marker(page: bytes) -> str:
    """The marker of the next page, at the end of a page; empty if there is no next page."""
    start, end = page.rfind(_MARKER), page.rfind(_MARKER_END)
    if not 0 <= start < end:
        return ""
    try:
        return ElementTree.fromstring(page[start:end] + _MARKER_END).text or ""  # noqa: S314
    except ElementTree.ParseError:
        # Reading the page reports it.
        return ""


_CHUNK = 64 * 1024
"""In bytes. A page of 5,000 blobs has 4 MB, and takes 20 MB as one tree of elements."""


def _listed(response: BlobResponse) -> Iterator[ListedBlob]:
    """The blobs of a page.

    Raises:
        DecodeError: the page is not XML; the blobs before the error were returned.
    """
    parser: Any = ElementTree.XMLPullParser(("end",))
    page = memoryview(response.content)
    try:
        for start in range(0, len(page), _CHUNK):
            parser.feed(page[start : start + _CHUNK])
            for _, element in parser.read_events():
                # An element of the metadata can have this name, too.
                if element.tag == "Blob" and (name := element.find("Name")) is not None:
                    yield _blob(element, name)
                    element.clear()
        parser.close()
    except ElementTree.ParseError:
        untyped: Any = response
        raise DecodeError("The response is not XML.", response=untyped) from None


_EMPTY = ElementTree.Element("Properties")


def _blob(element: ElementTree.Element, name: ElementTree.Element) -> ListedBlob:
    """A blob of a page.

    A name with characters that XML cannot contain is percent-encoded and has an attribute
    (REST reference, List Blobs, "Blob name encoding").
    """
    text, metadata = name.text or "", element.find("Metadata")
    properties = element.find("Properties")
    if properties is None:
        properties = _EMPTY
    return ListedBlob(
        unquote(text) if name.get("Encoded") == "true" else text,
        int(properties.findtext("Content-Length", "0")),
        properties.findtext("Content-MD5", ""),
        properties.findtext("Last-Modified", ""),
        {} if metadata is None else {each.tag: each.text or "" for each in metadata},
        properties.findtext("AccessTier", ""),
        properties.findtext("ResourceType") == "directory",
    )


def _error(response: BlobResponse) -> HttpResponseError:
    """The error of a response whose body has been read."""
    untyped: Any = response
    error = HttpResponseError(_message(response.content) or response.reason, response=untyped)
    error.error_code = response.headers.get("x-ms-error-code", "")  # type: ignore[attr-defined]
    return error


def _message(body: bytes) -> str:
    """The message in the XML of an error; empty if there is none."""
    try:
        return ElementTree.fromstring(body).findtext("Message", "")  # noqa: S314 - of the service
    except ElementTree.ParseError:
        return ""
