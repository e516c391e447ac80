"""Put Blob, Get Blob and List Blobs as single requests, through a short pipeline.

The convenience methods of the SDK take most of the time of a small file: they create a client for
each blob and serialize some forty options, and its pipeline has sixteen policies. A download of the
SDK reads a blob by ranges into memory; here it is one stream. A listing of the SDK fills some fifty
attributes of each blob, which takes ten times as long as to parse the XML
(``benchmarks/rows_transfers.py``).
"""

from __future__ import annotations

import base64
import copy
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from email.utils import formatdate
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlencode
from xml.etree import ElementTree

from azure.core.exceptions import DecodeError, HttpResponseError
from azure.core.pipeline import AsyncPipeline, PipelineRequest
from azure.core.pipeline.policies import SansIOHTTPPolicy
from azure.core.rest import HttpRequest

from batchspec.cloud.pipeline import USER_AGENT, RetryPolicy
from batchspec.frozen import frozen
from batchspec.plan.observed import LocalFile

if TYPE_CHECKING:
    from azure.core.rest import AsyncHttpResponse
    from azure.storage.blob.aio import BlobServiceClient

_DEFAULT_TYPE = "application/octet-stream"

_PAGE = 5000
"""Blobs in an answer; the largest number that the service accepts."""


@frozen
class ListedBlob:
    """A blob of a listing; ``md5`` is in Base64 and ``modified`` an HTTP date, empty if absent."""

    name: str
    size: int
    md5: str
    modified: str
    metadata: Mapping[str, str]


class _AttemptHeaders(SansIOHTTPPolicy[Any, Any]):
    """The headers of one attempt: the service refuses a date older than 15 minutes.

    ``given`` are those of every request of the client.
    """

    def __init__(self, given: Mapping[str, str]) -> None:
        super().__init__()
        self._given = given

    def on_request(self, request: PipelineRequest[Any]) -> None:
        headers = request.http_request.headers
        headers["x-ms-date"] = formatdate(time.time(), usegmt=True)
        headers["x-ms-client-request-id"] = str(uuid.uuid4())
        headers.update(self._given)


class BlobRequests:
    """Requests for single blobs of one account, over the connections of ``service``."""

    def __init__(self, service: BlobServiceClient, retry: RetryPolicy) -> None:
        self._service = service
        # The SDK has no public names for its connections, its headers, and the policy that signs. A
        # policy belongs to one pipeline.
        transport: Any = service._pipeline._transport
        headers: Any = service._config.headers_policy
        signing = copy.copy(service._credential_policy)
        policies: Any = (retry, _AttemptHeaders(headers.headers), signing)
        self._pipeline: AsyncPipeline[HttpRequest, AsyncHttpResponse]
        self._pipeline = AsyncPipeline(transport, policies)

    async def put(self, container: str, file: LocalFile, data: bytes) -> None:
        """Write a block blob with the content of a file. The service checks and keeps its MD5.

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
    ) -> AsyncHttpResponse:
        """The answer with the bytes of a blob from ``start`` on, not yet read; close it.

        With an ``etag``, only that version of the blob.

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

        Raises:
            AzureError: the service refused, or did not answer; an answer is no listing.
        """
        query = {"restype": "container", "comp": "list", "include": "metadata"}
        query["maxresults"] = str(_PAGE)
        if prefix:
            query["prefix"] = prefix
        while True:
            response = await self._send("GET", container, {}, query=query)
            if response.status_code != 200:
                raise _error(response)
            page = _xml(response)
            for blob in _listed(page):
                yield blob
            query["marker"] = page.findtext("NextMarker", "")
            if not query["marker"]:
                return

    async def _send(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        data: bytes | None = None,
        *,
        query: Mapping[str, str] | None = None,
        stream: bool = False,
    ) -> AsyncHttpResponse:
        url = f"{self._service.url.rstrip('/')}/{quote(path, safe='~/')}"
        if query:
            url += f"?{urlencode(query, quote_via=quote)}"
        headers = {"x-ms-version": self._service.api_version, "User-Agent": USER_AGENT, **headers}
        request = HttpRequest(method, url, headers=headers, content=data)
        return (await self._pipeline.run(request, stream=stream)).http_response


def _xml(response: AsyncHttpResponse) -> ElementTree.Element:
    try:
        return ElementTree.fromstring(response.content)  # noqa: S314 - of the service
    except ElementTree.ParseError:
        raise DecodeError("The answer is not XML.", response=response) from None


def _listed(page: ElementTree.Element) -> Iterator[ListedBlob]:
    """The blobs of a page.

    A name with characters that XML cannot contain is percent-encoded and has an attribute
    (REST reference, List Blobs, "Blob name encoding").
    """
    for blob in page.iterfind("Blobs/Blob"):
        name = blob.find("Name")
        text = "" if name is None else name.text or ""
        encoded = name is not None and name.get("Encoded") == "true"
        metadata = blob.find("Metadata")
        yield ListedBlob(
            unquote(text) if encoded else text,
            int(blob.findtext("Properties/Content-Length", "0")),
            blob.findtext("Properties/Content-MD5", ""),
            blob.findtext("Properties/Last-Modified", ""),
            {} if metadata is None else {each.tag: each.text or "" for each in metadata},
        )


def _error(response: AsyncHttpResponse) -> HttpResponseError:
    """The error of an answer whose body has been read."""
    error = HttpResponseError(_message(response.content) or response.reason, response=response)
    error.error_code = response.headers.get("x-ms-error-code", "")  # type: ignore[attr-defined]
    return error


def _message(body: bytes) -> str:
    """The message in the XML of an error; empty if there is none."""
    try:
        return ElementTree.fromstring(body).findtext("Message", "")  # noqa: S314 - of the service
    except ElementTree.ParseError:
        return ""
