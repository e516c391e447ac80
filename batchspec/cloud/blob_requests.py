"""Put Blob and Get Blob as single requests, through the pipeline of the Storage SDK.

The convenience methods of the SDK take most of the time of a small file: they create a client for
each blob and serialize some forty options. A download of the SDK reads a blob by ranges into
memory; here it is one stream.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote
from xml.etree import ElementTree

from azure.core.exceptions import HttpResponseError
from azure.core.rest import HttpRequest

from batchspec.plan.observed import LocalFile

if TYPE_CHECKING:
    from azure.core.rest import AsyncHttpResponse
    from azure.storage.blob.aio import BlobServiceClient

_DEFAULT_TYPE = "application/octet-stream"


class BlobRequests:
    """Requests for single blobs of one account."""

    def __init__(self, service: BlobServiceClient) -> None:
        self._service = service
        # The pipeline signs, repeats and logs requests. The SDK has no public method that sends a
        # request through it; the clients that it creates share it in the same way.
        self._pipeline: Any = service._pipeline

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
        response = await self._send("PUT", container, file.blob, headers, data)
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
        response = await self._send("GET", container, name, headers, stream=True)
        if response.status_code not in (200, 206):
            await response.read()
            raise _error(response)
        return response

    async def _send(
        self,
        method: str,
        container: str,
        name: str,
        headers: Mapping[str, str],
        data: bytes | None = None,
        *,
        stream: bool = False,
    ) -> AsyncHttpResponse:
        base = self._service.url.rstrip("/")
        url = f"{base}/{quote(container)}/{quote(name, safe='~/')}"
        versioned = {"x-ms-version": self._service.api_version, **headers}
        request = HttpRequest(method, url, headers=versioned, content=data)
        answer = await self._pipeline.run(request, stream=stream)
        response: AsyncHttpResponse = answer.http_response
        return response


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
