"""Operations on the account, its region and its application packages.

Recorded replies have the same properties in the same order. Fault injection sets the quotas
(``--chaos quota=4``); a quota that is not set is :data:`NO_LIMIT` and is not enforced.

The data plane and the nodes use the same applications. A client uploads a package to the
auto-storage account and activates it. Activation copies the package into the folder of the
application, from which nodes install it. As recorded, activation does not open the package.
"""

from __future__ import annotations

import asyncio
import os
import re
import tempfile
import uuid
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from functools import cache, partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from batchspec.catalog import vm_sizes
from batchspec.local.agent import BlobClient, StorageAccount, StorageError
from batchspec.local.api import Context, filtered
from batchspec.local.control_plane.arm import (
    PROVIDER,
    account_id,
    batch_error,
    resource_id,
)
from batchspec.local.fault_injection import FaultInjection, QuotaKind
from batchspec.local.sas import ZERO_ID
from batchspec.local.settings import REGION
from batchspec.local.store import (
    ApplicationRecord,
    ApplicationVersion,
    is_application_id,
    is_package_version,
)
from batchspec.local.wire import (
    Fault,
    FieldType,
    Reply,
    Request,
    bad_body,
    bad_property,
    etag_of,
    write_http_date,
    write_time,
)

NO_LIMIT = 1_000_000
"""The value of a quota that is not set."""
ACCOUNTS_OF_REGION = 1


def get_account(context: Context, _request: Request) -> Reply:
    """``GET .../batchAccounts/{accountName}``."""
    headers = {
        "ETag": f'"{etag_of(context.started)}"',
        "Last-Modified": write_http_date(context.started),
    }
    return Reply(200, _account(context), headers=headers)


def list_accounts(context: Context, _request: Request) -> Reply:
    """``GET .../batchAccounts``, of the subscription or of the resource group."""
    return Reply(200, {"value": [_account(context)]})


def get_quotas(_context: Context, _request: Request) -> Reply:
    """``GET .../locations/{locationName}/quotas``: the number of accounts."""
    return Reply(200, {"accountQuota": ACCOUNTS_OF_REGION})


def list_skus(_context: Context, request: Request) -> Reply:
    """``GET .../locations/{locationName}/virtualMachineSkus``."""
    items, link = request.numbered_page(
        filtered(request, {"familyName": FieldType.TEXT}, list(_skus()))
    )
    return Reply(200, {"value": list(items), **({} if link is None else {"nextLink": link})})


def _account(context: Context) -> dict[str, Any]:
    storage = context.storage
    auto_storage = (
        {}
        if storage is None
        else {
            "autoStorage": {
                "storageAccountId": resource_id(
                    "Microsoft.Storage", "storageAccounts", storage.name
                ),
                "lastKeySync": write_time(context.started),
                "authenticationMode": "BatchAccountManagedIdentity"
                if context.entra_only
                else "StorageKeys",
            }
        }
    )
    endpoint = urlsplit(context.base_url).netloc
    return {
        "id": account_id(context.account),
        "name": context.account,
        "type": f"{PROVIDER}/batchAccounts",
        "location": REGION,
        "properties": {
            "accountEndpoint": endpoint,
            "nodeManagementEndpoint": endpoint,
            "provisioningState": "Succeeded",
            **_quotas(context.faults),
            **auto_storage,
            "poolAllocationMode": "BatchService",
            "publicNetworkAccess": "Enabled",
            "privateEndpointConnections": [],
            "encryption": {"keySource": "Microsoft.Batch"},
            "allowedAuthenticationModes": ["AAD"] if context.entra_only else ["SharedKey", "AAD"],
        },
        "identity": _identity(context),
    }


def _identity(context: Context) -> dict[str, Any]:
    """The identity of the account, with which an account without keys signs in to its storage."""
    if not context.entra_only:
        return {"type": "None"}
    return {"type": "SystemAssigned", "principalId": ZERO_ID, "tenantId": ZERO_ID}


def _quotas(faults: FaultInjection) -> dict[str, Any]:
    limited = faults.family_quotas()
    families = [
        {"name": name, "coreQuota": limited.get(vm_sizes.family_key(name), NO_LIMIT)}
        for name in _families()
    ]

    def quota(kind: QuotaKind) -> int:
        limit = faults.quota(kind)
        return NO_LIMIT if limit is None else limit

    return {
        "dedicatedCoreQuota": quota(QuotaKind.QUOTA),
        "dedicatedCoreQuotaPerVMFamily": families,
        "dedicatedCoreQuotaPerVMFamilyEnforced": True,
        "lowPriorityCoreQuota": quota(QuotaKind.SPOT_QUOTA),
        "poolQuota": quota(QuotaKind.POOL_QUOTA),
        "activeJobAndJobScheduleQuota": quota(QuotaKind.JOB_QUOTA),
    }


@cache
def _families() -> tuple[str, ...]:
    """The families of all sizes, each in one spelling."""
    names = {vm_sizes.family_key(name): name for name in map(vm_sizes.family, _sizes())}
    return tuple(names[key] for key in sorted(names))


@cache
def _sizes() -> tuple[str, ...]:
    return tuple(sorted(vm_sizes.names()))


@cache
def _skus() -> tuple[dict[str, Any], ...]:
    return tuple(map(_sku, _sizes()))


def _sku(size: str) -> dict[str, Any]:
    """A size with its capabilities, as far as the catalog of sizes contains them."""
    cores = str(vm_sizes.cores(size))
    generations = ",".join(f"V{number}" for number in (1, 2) if vm_sizes.boots(size, number))
    capabilities = {"vCPUs": cores, "HyperVGenerations": generations, "vCPUsAvailable": cores}
    shown: dict[str, Any] = {
        "name": vm_sizes.arm_name(size),
        "familyName": vm_sizes.family(size),
        "capabilities": [{"name": name, "value": value} for name, value in capabilities.items()],
    }
    end = vm_sizes.retirement(size)
    if end is not None:
        shown["batchSupportEndOfLife"] = write_time(end)
    return shown


_SAS_BEFORE, _SAS_FOR = timedelta(minutes=5), timedelta(hours=4)  # recorded
_PROPERTIES: Mapping[str, type] = {
    "displayName": str,
    "allowUpdates": bool,
    "defaultVersion": str,
}
_RESOURCE = frozenset({"id", "name", "type", "etag", "systemData", "tags", "properties"})
_CONTAINER_NAME = 26
"""Maximum length of the application id in the name of a container."""


def put_application(context: Context, request: Request) -> Reply:
    """``PUT .../applications/{applicationName}``: create or update the application."""
    name = request.parameters["applicationName"]
    if not is_application_id(name):
        raise _bad_name("applicationName", name)
    return _change(context, request, name)


def update_application(context: Context, request: Request) -> Reply:
    """``PATCH .../applications/{applicationName}``: given properties replace stored ones."""
    return _change(context, request, _find(context, request).id)


def _change(context: Context, request: Request, name: str) -> Reply:
    given = _read(request)
    record = context.applications.record(name)
    default = given.pop("defaultVersion", None)
    if default is not None:
        version = None if record is None else record.version(default)
        if version is None:
            path = ("PropertyPath", "properties.defaultVersion")
            fault = bad_property(
                "defaultVersion", default, "The specified application package does not exist."
            )
            raise Fault(fault.code, *fault.values, path)
        context.applications.set_default(name, version.name)
    return _reply(context, context.applications.save(name, request.now, given))


def get_application(context: Context, request: Request) -> Reply:
    """``GET .../applications/{applicationName}``."""
    return _reply(context, _find(context, request))


def list_applications(context: Context, request: Request) -> Reply:
    """``GET .../applications``."""
    return _page(request, [_write(context, one) for one in context.applications.records()])


def delete_application(context: Context, request: Request) -> Reply | Callable[[], Reply]:
    """``DELETE .../applications/{applicationName}``: 204 if it does not exist."""
    record = context.applications.record(request.parameters["applicationName"])
    if record is None:
        return Reply(204)
    if record.versions:
        raise _invalid_state("The application has packages. Delete its packages first.")
    context.applications.delete(record.id)
    storage, container = context.storage, record.container
    if storage is None or container is None:
        return Reply(200)
    return partial(_delete, storage, storage.administration(container))


def put_package(context: Context, request: Request) -> Reply | Callable[[], Reply]:
    """``PUT .../versions/{versionName}``: the reply has the URL for the upload."""
    record, name = _find(context, request), request.parameters["versionName"]
    if not is_package_version(name):
        raise _bad_name("versionName", name)
    storage, before = _storage(context), record.version(name)
    if before is not None and not record.allow_updates:
        raise _invalid_state(f"The application does not allow updates, and has a version '{name}'.")
    container = record.container or _container_name(record.id)
    url = storage.administration(container)

    def create() -> Reply:
        _with_storage(storage, lambda client: client.create_container(url))
        if record.container is None:
            context.applications.save(record.id, record.modified, {"container": container})
        changed = context.applications.save_version(record.id, name, request.now, activated=False)
        return _package_reply(context, changed, name, upload=True)

    return create


def activate_package(context: Context, request: Request) -> Callable[[], Reply]:
    """``POST .../versions/{versionName}/activate``: make the package available to nodes."""
    given = request.json() if request.body.strip() else {}
    if not isinstance(given, dict) or given.keys() - {"format"}:
        raise bad_body("The request body must be an object with the property 'format'.")
    if "format" not in given:
        raise Fault("MissingRequiredProperty", ("PropertyName", "format"))
    if given["format"] != "zip":
        raise bad_property("format", str(given["format"]), "The format must be zip.")
    record = _find(context, request)
    version = _find_version(record, request)
    storage, container = _storage(context), record.container
    if container is None:
        raise _invalid_state(_NO_UPLOAD)
    url = storage.blob(
        container, version.name, "r", storage.now() - _SAS_BEFORE, storage.now() + _SAS_FOR
    )
    target = context.applications.package_path(record.id, version.name)

    def activate() -> Reply:
        _fetch(storage, url, target)
        changed = context.applications.save_version(
            record.id, version.name, request.now, activated=True
        )
        return _package_reply(context, changed, version.name, upload=True)

    return activate


def get_package(context: Context, request: Request) -> Reply:
    """``GET .../versions/{versionName}``: each reply has another URL, as recorded."""
    record = _find(context, request)
    version = _find_version(record, request)
    return _package_reply(context, record, version.name, upload=record.allow_updates)


def list_packages(context: Context, request: Request) -> Reply:
    """``GET .../versions``."""
    record = _find(context, request)
    shown = [
        _write_package(context, record, version, upload=record.allow_updates)
        for version in record.versions
    ]
    return _page(request, shown)


def delete_package(context: Context, request: Request) -> Reply | Callable[[], Reply]:
    """``DELETE .../versions/{versionName}``: even the default version; 204 if it does not exist."""
    record = context.applications.record(request.parameters["applicationName"])
    version = None if record is None else record.version(request.parameters["versionName"])
    if record is None or version is None:
        return Reply(204)
    context.applications.delete_version(record.id, version.name)
    storage, container = context.storage, record.container
    if storage is None or container is None:
        return Reply(200)
    start, end = storage.now() - _SAS_BEFORE, storage.now() + _SAS_FOR
    return partial(_delete, storage, storage.blob(container, version.name, "d", start, end))


def _read(request: Request) -> dict[str, Any]:
    body = request.json() if request.body.strip() else {}
    if not isinstance(body, dict):
        raise bad_body("The request body must be an object.")
    given = body.get("properties") or {}
    if not isinstance(given, dict):
        raise bad_body("The property 'properties' must be an object.")
    for name in [*(body.keys() - _RESOURCE), *(given.keys() - _PROPERTIES.keys())]:
        raise bad_body(f"The property '{name}' does not exist on type 'Application'.")
    for name, value in given.items():
        if value is not None and not isinstance(value, _PROPERTIES[name]):
            path = ("PropertyPath", f"properties.{name}")
            fault = bad_property(name, str(value)[:256], "The value has the wrong type.")
            raise Fault(fault.code, *fault.values, path)
    return {name: value for name, value in given.items() if value is not None}


def _find(context: Context, request: Request) -> ApplicationRecord:
    record = context.applications.record(request.parameters["applicationName"])
    if record is None:
        raise Fault("ApplicationNotFound")
    return record


def _find_version(record: ApplicationRecord, request: Request) -> ApplicationVersion:
    version = record.version(request.parameters["versionName"])
    if version is None:
        raise batch_error(
            404,
            "ApplicationPackageNotFound",
            "The specified application package does not exist.",  # azure-powershell#23809
        )
    return version


_NO_UPLOAD = "The package has no content. Upload it to the storageUrl of the package first."


def _storage(context: Context) -> StorageAccount:
    if context.storage is None:
        raise _invalid_state("The account has no auto-storage account.")
    return context.storage


def _invalid_state(reason: str) -> Fault:
    return Fault("OperationInvalidForCurrentState", ("Reason", reason))


def _bad_name(name: str, value: str) -> Fault:
    return bad_property(name, value[:256], "The name has a character that is not allowed.")


def _container_name(application: str) -> str:
    """A new container name of the recorded form: ``app-ID-`` and 32 hexadecimal digits."""
    name = re.sub(r"[_-]+", "-", application.lower())[:_CONTAINER_NAME].strip("-")
    return f"app-{name}-{uuid.uuid4().hex}" if name else f"app-{uuid.uuid4().hex}"


def _fetch(storage: StorageAccount, url: str, target: Path) -> None:
    """Copy the blob at ``url`` to ``target``, which appears once it is complete."""
    file, name = tempfile.mkstemp(prefix=".package-", dir=target.parent)
    temporary = Path(name)
    try:
        _with_storage(storage, lambda client: client.download(url, file))
        temporary.replace(target)
    except StorageError as error:
        if error.status == 404:
            raise _invalid_state(_NO_UPLOAD) from None
        raise
    finally:
        os.close(file)
        temporary.unlink(missing_ok=True)


def _delete(storage: StorageAccount, url: str) -> Reply:
    _with_storage(storage, lambda client: client.delete(url))
    return Reply(200)


def _with_storage(
    storage: StorageAccount, request: Callable[[BlobClient], Awaitable[None]]
) -> None:
    """Send a request to the storage from a thread without an event loop."""

    async def run() -> None:
        client = BlobClient(token=storage.token)
        try:
            await request(client)
        finally:
            await client.close()

    asyncio.run(run())


def _reply(context: Context, record: ApplicationRecord) -> Reply:
    return Reply(200, _write(context, record), headers=_headers(record))


def _package_reply(
    context: Context, record: ApplicationRecord, name: str, *, upload: bool
) -> Reply:
    version = record.version(name)
    assert version is not None
    shown = _write_package(context, record, version, upload=upload)
    return Reply(200, shown, headers=_headers(version))


def _headers(changed: ApplicationRecord | ApplicationVersion) -> dict[str, str]:
    modified = changed.modified
    return {"ETag": f'W/"{etag_of(modified)}"', "Last-Modified": write_http_date(modified)}


def _write(context: Context, record: ApplicationRecord) -> dict[str, Any]:
    display = {} if record.display_name is None else {"displayName": record.display_name}
    default = {} if record.default is None else {"defaultVersion": record.default}
    return {
        "type": f"{PROVIDER}/batchAccounts/applications",
        "id": f"{account_id(context.account)}/applications/{record.id}",
        "name": record.id,
        "etag": f'W/"{etag_of(record.modified)}"',
        "properties": {**display, "allowUpdates": record.allow_updates, **default},
    }


def _write_package(
    context: Context, record: ApplicationRecord, version: ApplicationVersion, *, upload: bool
) -> dict[str, Any]:
    """A version. With ``upload``, its URL allows writes (recorded).

    The URL has no SAS if the account signs in to its storage with an identity.
    """
    properties: dict[str, Any] = {}
    storage = context.storage
    if storage is not None and record.container is not None:
        now = storage.now()
        place = (record.container, version.name, "rw" if upload else "r")
        url = storage.blob(*place, now - _SAS_BEFORE, now + _SAS_FOR)
        properties["storageUrl"] = url
        if not storage.token:
            properties["storageUrlExpiry"] = write_time(now + _SAS_FOR)
    properties["state"] = "Pending" if version.activated is None else "Active"
    if version.activated is not None:
        properties |= {"format": "zip", "lastActivationTime": write_time(version.activated)}
    return {
        "type": f"{PROVIDER}/batchAccounts/applications/versions",
        "id": f"{account_id(context.account)}/applications/{record.id}/versions/{version.name}",
        "name": version.name,
        "etag": f'W/"{etag_of(version.modified)}"',
        "properties": properties,
    }


def _page(request: Request, items: list[dict[str, Any]]) -> Reply:
    shown, link = request.numbered_page(items)
    return Reply(200, {"value": list(shown), **({} if link is None else {"nextLink": link})})
