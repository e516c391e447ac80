"""Operations on the account as a whole: images, use."""

from __future__ import annotations

from batchspec.local.api.context import Context
from batchspec.local.api.images import IMAGES, write_image
from batchspec.local.api.listing import passing
from batchspec.local.wire.fault import Fault
from batchspec.local.wire.odata_tree import Kind
from batchspec.local.wire.reply import Reply, many
from batchspec.local.wire.request import Request

_IMAGE_FILTER = {
    "osType": Kind.WORD,
    "verificationType": Kind.WORD,
    "nodeAgentSKUId": Kind.TEXT,
}


def list_supported_images(_context: Context, request: Request) -> Reply:
    """``GET /supportedimages``."""
    limit, after = request.max_results(), request.after()
    start = int(after) if after.isdecimal() else 0
    images = passing(request, _IMAGE_FILTER, [write_image(image) for image in IMAGES])
    end = start + limit
    link = request.next_link(str(end)) if len(images) > end else None
    return many(images[start:end], "supportedimages", link)


def list_pool_usage_metrics(_context: Context, _request: Request) -> Reply:
    """``GET /poolusagemetrics``: retired on the real service too, in these words."""
    raise Fault("PoolUsageMetricAPIRetired")
