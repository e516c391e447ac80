"""Watches the pool, the job and the tasks of a run, and finds the causes for which it waits.

In: the state of the account at one poll (:class:`Health`). Out: causes (:func:`find_causes`, pure)
and events (:class:`Monitor`). Not here: whether a cause ends the run (``apply.wait``).
"""

from batchspec.apply.monitor.cause_table import CAUSES, Cause, CauseKind
from batchspec.apply.monitor.causes import cause_of_deleted_pool, find_causes
from batchspec.apply.monitor.health import Health, Watched, poll_in_detail, watched_of
from batchspec.apply.monitor.monitor import Monitor, PollInterval, TaskStates, lasting, nodes_seen
