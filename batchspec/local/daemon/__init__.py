"""The process that runs the Batch service and Azurite: start, stop, status, data folder.

In: `Settings`. Out: the `Endpoints` of a running service. :mod:`.serve` is the daemon itself; the
other modules run in the processes that use it and must stay quick to import.
"""

from batchspec.local.daemon.endpoints import (
    Account,
    Announcement,
    Endpoints,
    Format,
    env,
    read_announcement,
    variables,
    write_announcement,
)
from batchspec.local.daemon.home import Home
from batchspec.local.daemon.start import ReadinessReporter, await_readiness, exclusive, start_daemon
from batchspec.local.daemon.status import State, Status, read_status
from batchspec.local.daemon.stop import end_orphans, reset_daemon, stop_daemon

__all__ = [
    "Account",
    "Announcement",
    "Endpoints",
    "Format",
    "Home",
    "ReadinessReporter",
    "State",
    "Status",
    "await_readiness",
    "end_orphans",
    "env",
    "exclusive",
    "read_announcement",
    "read_status",
    "reset_daemon",
    "start_daemon",
    "stop_daemon",
    "variables",
    "write_announcement",
]
