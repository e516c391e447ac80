"""Operations on the account: supported images and the retired pool usage metrics.

The images are those of :mod:`batchspec.catalog.images`. Nodes always run the operating system of
this machine, whatever image their pool names.
"""

from __future__ import annotations

from typing import Any

from batchspec.catalog.images import IMAGES, Image
from batchspec.local.api.resources import Context, filtered
from batchspec.local.wire import Fault, FieldType, Reply, Request, list_reply


def serialize_image(image: Image) -> dict[str, Any]:
    """An image as JSON."""
    shown: dict[str, Any] = {
        "imageReference": {
            "publisher": image.publisher,
            "offer": image.offer,
            "sku": image.sku,
            "version": "latest",
        },
        "verificationType": "verified" if image.verified else "unverified",
        "nodeAgentSKUId": image.agent,
    }
    if image.capabilities:
        shown["capabilities"] = list(image.capabilities)
    if image.ends is not None:
        shown["batchSupportEndOfLife"] = f"{image.ends}T00:00:00Z"
    shown["osType"] = image.os_type
    return shown


_IMAGE_FILTER = {
    "osType": FieldType.WORD,
    "verificationType": FieldType.WORD,
    "nodeAgentSKUId": FieldType.TEXT,
}


def list_supported_images(_context: Context, request: Request) -> Reply:
    """``GET /supportedimages``."""
    limit, after = request.max_results(), request.after()
    start = int(after) if after.isdecimal() else 0
    images = filtered(request, _IMAGE_FILTER, [serialize_image(image) for image in IMAGES])
    end = start + limit
    link = request.next_link(str(end)) if len(images) > end else None
    return list_reply(images[start:end], "supportedimages", link)


def list_pool_usage_metrics(_context: Context, _request: Request) -> Reply:
    """``GET /poolusagemetrics``: retired; the error is that of the real service."""
    raise Fault("PoolUsageMetricAPIRetired")
