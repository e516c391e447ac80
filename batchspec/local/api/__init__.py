"""The operations of the Batch REST API, one module for each resource.

In: a :class:`Context` and a request. Out: a reply, or a ``Fault``. An operation writes the intent
of a change to the store, and the engine carries it out. Processes and HTTP do not belong here.
"""

from batchspec.local.api.account import serialize_image
from batchspec.local.api.resources import Context, filtered
from batchspec.local.api.routes import (
    FORMER_ROUTES,
    ROUTES,
    Handler,
    Match,
    Route,
    RouteTable,
    check_operation,
    find_route,
)
from batchspec.local.api.settings import WITHOUT_EFFECT
