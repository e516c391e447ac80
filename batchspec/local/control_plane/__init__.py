"""The control plane of the service: Azure Resource Manager for its account.

In: a :class:`Context` and a request below ``/subscriptions``. Out: a reply, or an error. The
control plane and the data plane share pools, applications and quotas: operations use the functions
of the data plane and the same store. HTTP does not belong here.
"""

from __future__ import annotations

from batchspec.local.api import Match, Route, RouteTable
from batchspec.local.control_plane import account, pools
from batchspec.local.control_plane.arm import (
    API_VERSIONS,
    ArmError,
    check_api_version,
    check_scope,
    check_token,
    error_reply,
    is_bearer,
    is_control_plane,
    reply_headers,
    write_json,
)

__all__ = [
    "API_VERSIONS",
    "CONTROL_PLANE_ROUTES",
    "ArmError",
    "check_api_version",
    "check_scope",
    "check_token",
    "error_reply",
    "find_control_plane_route",
    "is_bearer",
    "is_control_plane",
    "reply_headers",
    "resource_type",
    "write_json",
]


_SUBSCRIPTION = "/subscriptions/{subscriptionId}"
_PROVIDER = "/providers/Microsoft.Batch"
_GROUP = _SUBSCRIPTION + "/resourceGroups/{resourceGroupName}" + _PROVIDER
_ACCOUNT = _GROUP + "/batchAccounts/{accountName}"
_POOL = _ACCOUNT + "/pools/{poolName}"
_APPLICATION = _ACCOUNT + "/applications/{applicationName}"
_VERSION = _APPLICATION + "/versions/{versionName}"
_REGION = _SUBSCRIPTION + _PROVIDER + "/locations/{locationName}"
_SIZES = "cores, generation and end of support, without memory and disks"
_PROPERTIES = "the same properties as `create_pool`; see below"
_KEYS = "`batchspec local env` prints the keys"
_FIXED = "the service has one account, which is created with the data folder"


def _missing(operation: str, method: str, path: str, note: str) -> Route:
    return Route(operation, method, path, None, "not supported", note)


CONTROL_PLANE_ROUTES: tuple[Route, ...] = (
    Route("batch_account.get", "GET", _ACCOUNT, account.get_account),
    Route("batch_account.list", "GET", _SUBSCRIPTION + _PROVIDER + "/batchAccounts",
          account.list_accounts),
    Route("batch_account.list_by_resource_group", "GET", _GROUP + "/batchAccounts",
          account.list_accounts),
    _missing("batch_account.begin_create", "PUT", _ACCOUNT, _FIXED),
    _missing("batch_account.update", "PATCH", _ACCOUNT, _FIXED),
    _missing("batch_account.begin_delete", "DELETE", _ACCOUNT, _FIXED),
    _missing("batch_account.get_keys", "POST", _ACCOUNT + "/listKeys", _KEYS),
    _missing("batch_account.regenerate_key", "POST", _ACCOUNT + "/regenerateKeys", _KEYS),
    Route("pool.create", "PUT", _POOL, pools.put_pool, "partial", _PROPERTIES),
    Route("pool.update", "PATCH", _POOL, pools.update_pool, "partial", _PROPERTIES),
    Route("pool.get", "GET", _POOL, pools.get_pool),
    Route("pool.list_by_batch_account", "GET", _ACCOUNT + "/pools", pools.list_pools),
    Route("pool.begin_delete", "DELETE", _POOL, pools.delete_pool,
          note=f"`Retry-After` is {pools.RETRY_AFTER} s; recorded: 15 s"),
    Route("pool.begin_delete (poll)", "GET", _ACCOUNT + "/poolOperationResults/{operation}",
          pools.get_pool_operation),
    Route("pool.stop_resize", "POST", _POOL + "/stopResize", pools.stop_resize),
    Route("pool.disable_auto_scale", "POST", _POOL + "/disableAutoScale",
          pools.disable_auto_scale),
    Route("application.create", "PUT", _APPLICATION, account.put_application),
    Route("application.update", "PATCH", _APPLICATION, account.update_application),
    Route("application.get", "GET", _APPLICATION, account.get_application),
    Route("application.list", "GET", _ACCOUNT + "/applications", account.list_applications),
    Route("application.delete", "DELETE", _APPLICATION, account.delete_application),
    Route("application_package.create", "PUT", _VERSION, account.put_package),
    Route("application_package.activate", "POST", _VERSION + "/activate",
          account.activate_package),
    Route("application_package.get", "GET", _VERSION, account.get_package),
    Route("application_package.list", "GET", _APPLICATION + "/versions",
          account.list_packages),
    Route("application_package.delete", "DELETE", _VERSION, account.delete_package),
    Route("location.get_quotas", "GET", _REGION + "/quotas", account.get_quotas),
    Route("location.list_supported_virtual_machine_skus", "GET", _REGION + "/virtualMachineSkus",
          account.list_skus, "partial", _SIZES),
)  # fmt: skip
"""The operations of the control plane that the service knows."""


_TABLE = RouteTable(CONTROL_PLANE_ROUTES)


def find_control_plane_route(method: str, path: str) -> Match:
    """The route of ``method`` and ``path`` (as sent, percent-encoded).

    Raises:
        ArmError: no route matches.
    """
    try:
        match = _TABLE.find(method, path.strip("/").split("/"))
    except LookupError:
        raise ArmError(
            404,
            "InvalidResourceType",
            "The resource type could not be found in the namespace 'Microsoft.Batch'.",
        ) from None
    if match is None:
        raise ArmError(
            405, "HttpMethodNotAllowed", f"The HTTP method '{method}' is not supported here."
        )
    return match


def resource_type(route: Route) -> str:
    """The resource type of a route, such as ``batchAccounts/pools``."""
    kinds = route.path.partition(_PROVIDER + "/")[2].split("/")
    return "/".join(kind for kind in kinds if not kind.startswith("{"))
