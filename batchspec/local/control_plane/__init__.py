"""The control plane of the service: Azure Resource Manager for its account.

In: a :class:`Context` and a request below ``/subscriptions``. Out: a reply, or an error. Pools,
applications and quotas are those of the data plane: operations use its handlers and the same
store. HTTP does not belong here.
"""

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
from batchspec.local.control_plane.routes import (
    CONTROL_PLANE_ROUTES,
    find_control_plane_route,
    resource_type,
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
