"""The monitor of a run: looks at pool, job and tasks, and says why nothing moves.

In goes what an account shows (:class:`Health`), out come causes (:func:`causes`, pure) and events
(:class:`Monitor`). What follows from a cause is decided by the waits of a run.
"""

from batchspec.apply.monitor.cause_table import CAUSES, Cause, CauseKind
from batchspec.apply.monitor.causes import causes
from batchspec.apply.monitor.health import Health, Watched, watched_of
from batchspec.apply.monitor.monitor import Monitor
from batchspec.apply.monitor.poll import poll_in_detail

__all__ = [
    "CAUSES",
    "Cause",
    "CauseKind",
    "Health",
    "Monitor",
    "Watched",
    "causes",
    "poll_in_detail",
    "watched_of",
]
