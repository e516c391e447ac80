"""The process that runs the Batch service and Azurite: start, stop, status, data folder.

In: `Settings`. Out: the `Endpoints` of a running service. :mod:`.serve` is the daemon itself. The
other modules also run in client processes and must stay quick to import.
"""

from typing import TYPE_CHECKING

from batchspec.lazy_imports import lazy_names
from batchspec.local.daemon.control import (
    ReadinessReporter,
    Requirements,
    await_readiness,
    end_orphans,
    exclusive,
    reset_daemon,
    start_daemon,
    stop_daemon,
)
from batchspec.local.daemon.home import Account, Home
from batchspec.local.daemon.status import (
    Announcement,
    Endpoints,
    HttpsEndpoints,
    State,
    Status,
    read_announcement,
    read_status,
    write_announcement,
)

if TYPE_CHECKING:
    from batchspec.local.daemon.client_access import Format, env, variables

# Only few processes need the variables for clients.
__getattr__ = lazy_names(__name__, {"client_access": "Format env variables"})
