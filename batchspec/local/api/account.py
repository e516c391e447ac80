"""Operations on the account: applications, images, and retired operations of older api-versions.

The images are those of :mod:`batchspec.catalog.images`. Nodes always run the operating system of
this machine, whatever image their pool names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from batchspec.catalog.images import IMAGES, Image
from batchspec.local.api.resources import Context, filtered, items_page
from batchspec.local.store import Application
from batchspec.local.wire import Fault, FieldType, Reply, Request, list_reply, resource_reply


def list_applications(context: Context, request: Request) -> Reply:
    """``GET /applications``."""
    limit, after = request.max_results(), request.after()
    found = [item for item in context.applications.all() if item.id.lower() > after]
    link = request.next_link(found[limit - 1].id.lower()) if len(found) > limit else None
    shown = [_write(item) for item in found[:limit]]
    return list_reply(request, "BatchApplication", shown, "listapplicationsummariesresponses", link)


def get_application(context: Context, request: Request) -> Reply:
    """``GET /applications/{applicationId}``."""
    found = context.applications.get(request.parameters["applicationId"])
    if found is None:
        raise Fault("ApplicationNotFound")
    return resource_reply(
        request, "BatchApplication", _write(found), "getapplicationsummaryresponse/@Element"
    )


def check_references(
    context: Context, references: Iterable[Mapping[str, Any]], *, needs_default: bool
) -> None:
    """Check that all referenced packages exist.

    A reference without a version means the default version. If the application has no default
    version, this is an error only with ``needs_default``: the REST reference requires it for pools,
    while a task fails when it runs.

    Raises:
        Fault: ``InvalidApplicationPackageReferences``, with a value for each invalid reference.
    """
    wrong = []
    for reference in references:
        name, version = reference["applicationId"], reference.get("version")
        found = context.applications.get(name)
        if found is None or (version is not None and found.package(version) is None):
            wrong.append((name, "The specified application package does not exist."))  # recorded
        elif needs_default and found.package(version) is None:
            wrong.append((name, "The specified application does not have a default version."))
    if wrong:
        raise Fault("InvalidApplicationPackageReferences", *wrong)


def _write(application: Application) -> dict[str, Any]:
    """As recorded: without the display name, which only the management plane can set."""
    return {"id": application.id, "versions": list(application.packages)}


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
    images = filtered(request, _IMAGE_FILTER, [serialize_image(image) for image in IMAGES])
    return items_page(request, "BatchSupportedImage", images, "supportedimages")


def list_node_agent_skus(_context: Context, request: Request) -> Reply:
    """``GET /nodeagentskus``, until 2018-12-01.8.0: the images of each node agent."""
    agents: dict[str, list[Image]] = {}
    for image in IMAGES:
        agents.setdefault(image.agent, []).append(image)
    skus = [
        {
            "id": agent,
            "verifiedImageReferences": [
                serialize_image(image)["imageReference"] for image in images if image.verified
            ],
            "osType": images[0].os_type,
        }
        for agent, images in sorted(agents.items())
    ]
    found = filtered(request, {"osType": FieldType.WORD}, skus)
    return items_page(request, "NodeAgentSku", found, "nodeagentskus")


def list_pool_usage_metrics(_context: Context, _request: Request) -> Reply:
    """``GET /poolusagemetrics``: retired; the error is that of the real service."""
    raise Fault("PoolUsageMetricAPIRetired")
