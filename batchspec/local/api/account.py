"""Operations on the account: applications, images, certificates, and retired operations.

The images are from :mod:`batchspec.catalog.images`. Nodes run the operating system of this machine
for every image. Api-versions until 2024-07-01.20.0 have certificates; the service stores them
without private keys and does not install them on nodes.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from batchspec.catalog.images import IMAGES, Image
from batchspec.local.api.resources import Context, filtered, items_page
from batchspec.local.model import Certificate, CertificateState
from batchspec.local.store import NO_CERTIFICATE, THUMBPRINT_ALGORITHM, Application
from batchspec.local.wire import (
    Fault,
    FieldType,
    Reply,
    Request,
    bad_property,
    created_reply,
    empty_reply,
    list_reply,
    resource_reply,
    write_time,
)


def list_applications(context: Context, request: Request) -> Reply:
    """``GET /applications``."""
    limit, after = request.max_results(), request.after()
    found = [item for item in context.applications.all() if item.id.lower() > after]
    link = request.next_link(found[limit - 1].id.lower()) if len(found) > limit else None
    shown = [_write_application(item) for item in found[:limit]]
    return list_reply(request, "BatchApplication", shown, "listapplicationsummariesresponses", link)


def get_application(context: Context, request: Request) -> Reply:
    """``GET /applications/{applicationId}``."""
    found = context.applications.get(request.parameters["applicationId"])
    if found is None:
        raise Fault("ApplicationNotFound")
    return resource_reply(
        request,
        "BatchApplication",
        _write_application(found),
        "getapplicationsummaryresponse/@Element",
    )


def check_references(
    context: Context, references: Iterable[Mapping[str, Any]], *, needs_default: bool
) -> None:
    """Check that all referenced packages exist.

    A reference without a version means the default version. A missing default version is an error
    only with ``needs_default``: the REST reference requires a default version for pools, while a
    task without one fails when it runs.

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


def _write_application(application: Application) -> dict[str, Any]:
    """An application as recorded, without its display name, which the control plane sets."""
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
    """``GET /poolusagemetrics``: retired; it fails with the error of Azure Batch."""
    raise Fault("PoolUsageMetricAPIRetired")


_MAX_SIZE = 10 * 1024
_DELETION = timedelta(seconds=2)
"""Time in which a certificate is ``deleting``; recordings have more than a second."""
_THUMBPRINT = re.compile(r"[0-9a-f]{40}", re.ASCII)
_KEY = re.compile(
    r"\(\s*thumbprintalgorithm=([^,)]*),\s*thumbprint=([^,)]*)\)", re.ASCII | re.IGNORECASE
)
_FILTER = {
    "state": FieldType.WORD,
    "stateTransitionTime": FieldType.TIME,
    "thumbprint": FieldType.TEXT,
    "thumbprintAlgorithm": FieldType.TEXT,
}


def create_certificate(context: Context, request: Request) -> Reply:
    """``POST /certificates``: the thumbprint must match the data."""
    given = request.parse_body("CertificateAddParameter")
    thumbprint = given["thumbprint"].replace(" ", "").lower()
    if given["thumbprintAlgorithm"].lower() != THUMBPRINT_ALGORITHM:
        raise bad_property(
            "thumbprintAlgorithm", given["thumbprintAlgorithm"][:256], "The value must be sha1."
        )
    public = _public_data(given)
    found = hashlib.sha1(public, usedforsecurity=False).hexdigest()
    if _THUMBPRINT.fullmatch(thumbprint) is None or found != thumbprint:
        reason = "The value must be the SHA-1 thumbprint of the certificate."
        raise bad_property("thumbprint", given["thumbprint"][:256], reason)
    _settle(context, request.now)
    existing = context.store.certificates.get(thumbprint)
    if existing is not None:
        deleting = existing.state is CertificateState.DELETING
        raise Fault("CertificateBeingDeleted" if deleting else "CertificateExists")
    encoded = base64.b64encode(public).decode()
    context.store.certificates.add(thumbprint, encoded, request.now)
    # Recorded: only this URL has capitals.
    key = f"ThumbprintAlgorithm={THUMBPRINT_ALGORITHM},Thumbprint={thumbprint}"
    return created_reply(f"{context.base_url}/certificates({key})", None)


def list_certificates(context: Context, request: Request) -> Reply:
    """``GET /certificates``."""
    _settle(context, request.now)
    shown = [_write(context, certificate) for certificate in context.store.certificates.all()]
    found = filtered(request, _FILTER, shown)
    return items_page(request, "Certificate", found, "certificates")


def get_certificate(context: Context, request: Request) -> Reply:
    """``GET /certificates(thumbprintAlgorithm=sha1,thumbprint=...)``."""
    shown = _write(context, _find(context, request))
    return resource_reply(request, "Certificate", shown, "certificates/@Element")


def delete_certificate(context: Context, request: Request) -> Reply:
    """``DELETE /certificates(...)``: the deletion fails later if a pool uses the certificate."""
    certificate = _find(context, request)
    if certificate.state is CertificateState.DELETING:
        raise Fault("CertificateBeingDeleted")
    context.store.certificates.set_state(certificate, CertificateState.DELETING, request.now)
    return empty_reply(202, None)


def cancel_certificate_deletion(context: Context, request: Request) -> Reply:
    """``POST /certificates(...)/canceldelete``: only after a deletion has failed."""
    certificate = _find(context, request)
    if certificate.state is CertificateState.ACTIVE:
        raise Fault("CertificateStateActive")
    if certificate.state is CertificateState.DELETING:
        raise Fault("CertificateBeingDeleted")
    context.store.certificates.set_state(certificate, CertificateState.ACTIVE, request.now)
    return empty_reply(204, request.url)


def check_certificates(context: Context, pool: Mapping[str, Any]) -> None:
    """Check that the certificates in the settings of a pool exist.

    Raises:
        Fault: ``InvalidCertificateReferences``, with a value for each invalid reference.
    """
    missing = context.store.certificates.missing(pool.get("certificateReferences", ()))
    if missing:
        raise Fault("InvalidCertificateReferences", *((name, NO_CERTIFICATE) for name in missing))


def _public_data(given: Mapping[str, Any]) -> bytes:
    """The certificate in DER; from a PFX file, the certificate of its private key."""
    try:
        data = base64.b64decode(given["data"], validate=True)
    except (binascii.Error, ValueError):
        raise bad_property("data", None, "The value must be in base64.") from None
    if not 0 < len(data) <= _MAX_SIZE:
        raise bad_property("data", None, "The value must contain at most 10 KB.")
    if given.get("certificateFormat", "pfx") == "cer":
        if "password" in given:
            raise bad_property(
                "password", None, "A certificate in the format cer cannot have a password."
            )
        return data
    # Imported here, since the import is slow and only PFX files need it.
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import pkcs12  # noqa: PLC0415

    try:
        _, certificate, _ = pkcs12.load_key_and_certificates(
            data, given.get("password", "").encode() or None
        )
    except ValueError:
        reason = "The value is not a PFX file, or the password is wrong."
        raise bad_property("data", None, reason) from None
    if certificate is None:
        raise bad_property("data", None, "The file contains no certificate.")
    return certificate.public_bytes(serialization.Encoding.DER)


def _find(context: Context, request: Request) -> Certificate:
    _settle(context, request.now)
    key = _KEY.search(request.path)
    found = None
    if key is not None and key[1].lower() == THUMBPRINT_ALGORITHM:
        found = context.store.certificates.get(key[2].lower())
    if found is None:
        raise Fault("CertificateNotFound")
    return found


def _settle(context: Context, now: datetime) -> None:
    """Complete the deletions that are due. Each request for certificates calls this first."""
    store = context.store.certificates
    for certificate in store.all():
        if certificate.state is not CertificateState.DELETING:
            continue
        due = certificate.state_since + _DELETION
        if due > now:
            continue
        if users := store.users(certificate.thumbprint):
            store.set_state(certificate, CertificateState.DELETE_FAILED, due, _in_use(users))
        else:
            store.delete(certificate)


def _in_use(pools: Iterable[str]) -> dict[str, Any]:
    """The error of a failed deletion, from the example of the REST reference."""
    return {
        "code": "PoolsReferencingCertificate",
        "message": "The specified certificate is being used by the below mentioned pool(s)",
        "values": [{"name": "Pools", "value": pool} for pool in pools],
    }


def _write(context: Context, certificate: Certificate) -> dict[str, Any]:
    key = f"thumbprintAlgorithm={THUMBPRINT_ALGORITHM},thumbprint={certificate.thumbprint}"
    shown: dict[str, Any] = {
        "thumbprint": certificate.thumbprint,
        "thumbprintAlgorithm": THUMBPRINT_ALGORITHM,
        "url": f"{context.base_url}/certificates({key})",
        "state": certificate.state,
        "stateTransitionTime": write_time(certificate.state_since),
    }
    if certificate.previous_state is not None and certificate.previous_since is not None:
        shown |= {
            "previousState": certificate.previous_state,
            "previousStateTransitionTime": write_time(certificate.previous_since),
        }
    shown["publicData"] = certificate.public_data
    if certificate.error is not None:
        shown["deleteCertificateError"] = certificate.error
    return shown
