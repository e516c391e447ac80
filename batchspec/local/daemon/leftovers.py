"""What a daemon that was killed left running: found for sure, and ended.

Azurite is told by the kernel when its daemon dies and the host of the tasks sees its pipe close, so
both are usually gone before anybody looks. This is for the case that they are not.
"""

from __future__ import annotations

import signal
import sys

from batchspec.local.agent.leftovers import reap_leftovers
from batchspec.local.azurite.server import STOP_SECONDS
from batchspec.local.daemon.home import Home
from batchspec.local.error import LocalError
from batchspec.local.lock import held, wait_free
from batchspec.local.process import Process


def end_leftovers(home: Home) -> bool:
    """End the processes of an earlier daemon; whether there was anything to clear away.

    To be called while holding ``home.running``, and by nobody who holds ``home.storing``.

    Raises:
        LocalError: somebody keeps Azurite's lock and cannot be ended (``data-locked``).
    """
    stale = home.endpoints.exists()
    tasks = reap_leftovers(home.batch)
    azurite = _end_azurite(home)
    home.endpoints.unlink(missing_ok=True)
    return stale or bool(tasks) or azurite


def _end_azurite(home: Home) -> bool:
    if not held(home.storing):
        return False
    azurite = Process.read(home.storing)
    for number, patience in ((signal.SIGTERM, STOP_SECONDS), (signal.SIGKILL, 5.0)):
        # Linux has told it when the daemon ended. Told twice, it ends at once, and what it was
        # given last is lost.
        told = number == signal.SIGTERM and sys.platform == "linux"
        if azurite and not told:
            azurite.signal(number)
        if wait_free(home.storing, patience):
            return True
    raise LocalError(
        "data-locked",
        f"Another Azurite works on {home.blobs} and cannot be ended.",
        hint=f"End the process that holds {home.storing} (fuser names it)",
        log=home.azurite_log,
    )
