"""Reads the files to upload and the state of the account, and changes nothing.

In: a ``Spec`` and an ``Account``. Out: ``Observed``, the input of a plan. For the commands that
show an account: failures, the output of tasks and nodes, and an inventory. A :class:`Spool` stores
files, blobs and tasks, of which there may be millions.

Not here: decisions (``plan``), changes (``apply``), HTTP requests (``cloud``), and formatted output
(``render``).

Functions are imported on first use, because imports lengthen the start.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchspec.lazy_imports import lazy_names

if TYPE_CHECKING:
    from batchspec.observe.account import (
        Kind,
        OwnedResource,
        counted_jobs,
        former_pools,
        jobs_of,
        observe,
        owned_resources,
        package_users,
        packages_of,
    )
    from batchspec.observe.cost import cost_per_hour, observe_cost
    from batchspec.observe.failures import Failure, failures_of, tasks_alike
    from batchspec.observe.file_cache import FileCache, create_state_folder
    from batchspec.observe.local_files import bad_archives, scan
    from batchspec.observe.spool import Spool, Working, silent
    from batchspec.observe.stored_files import (
        FileSource,
        SourceKind,
        StoredFile,
        containers_of,
        find_source,
    )
    from batchspec.observe.task_output import (
        NodeOutput,
        OutputFile,
        TaskInJob,
        Unstartable,
        find_node_output,
        find_task,
        find_unstartable,
        output_of_task,
        pool_of,
        started_tasks,
        stored_failures,
        stored_output,
        wait_for_start,
    )
    from batchspec.observe.task_streams import (
        StartedTasks,
        TaskOutput,
        TaskStreams,
        matches,
        patterns_with_tasks,
    )

__getattr__ = lazy_names(
    __name__,
    {
        "account": (
            "Kind OwnedResource counted_jobs former_pools jobs_of observe owned_resources "
            "package_users packages_of"
        ),
        "cost": "cost_per_hour observe_cost",
        "local_files": "bad_archives scan",
        "failures": "Failure failures_of tasks_alike",
        "file_cache": "FileCache create_state_folder",
        "spool": "Spool Working silent",
        "task_output": (
            "NodeOutput OutputFile TaskInJob Unstartable find_node_output find_task "
            "find_unstartable stored_output wait_for_start output_of_task pool_of started_tasks "
            "stored_failures"
        ),
        "stored_files": "FileSource SourceKind StoredFile containers_of find_source",
        "task_streams": "StartedTasks TaskOutput TaskStreams matches patterns_with_tasks",
    },
)
