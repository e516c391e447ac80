"""The store: the state of the service, and the only writer of it.

API and engine meet here and nowhere else: the API writes what is wanted, the engine reads it,
acts, and writes what is. ``changed`` is called after each commit, so that the engine looks at once.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from batchspec.local.store.autoscale import Autoscale
from batchspec.local.store.database import Database
from batchspec.local.store.jobs import Jobs
from batchspec.local.store.nodes import Nodes
from batchspec.local.store.pools import Pools
from batchspec.local.store.preparations import Preparations
from batchspec.local.store.runs import Runs, Subtasks
from batchspec.local.store.schedules import Schedules
from batchspec.local.store.tasks import Tasks


class Store:
    """All tables over one database. Used from one thread; every method is short.

    Group writes that belong together::

        with store.transaction():
            store.pools.complete_resize(pool, now)
            store.nodes.delete(node)
    """

    def __init__(self, path: Path | str) -> None:
        self._database = Database(path)
        self.pools = Pools(self._database)
        self.nodes = Nodes(self._database)
        self.jobs = Jobs(self._database)
        self.tasks = Tasks(self._database)
        self.runs = Runs(self._database)
        self.subtasks = Subtasks(self._database)
        self.preparations = Preparations(self._database)
        self.autoscale = Autoscale(self._database)
        self.schedules = Schedules(self._database)

    @property
    def version(self) -> int:
        """Grows with each committed change; equal means nothing has changed."""
        return self._database.version

    def on_change(self, call: Callable[[], None]) -> None:
        """Have ``call`` called after each commit, in the thread that committed; one at a time."""
        self._database.changed = call

    def transaction(self) -> AbstractContextManager[None]:
        """All or nothing for what is written inside."""
        return self._database.transaction()

    def close(self) -> None:
        """Close the database."""
        self._database.close()
