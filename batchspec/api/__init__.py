"""The operations on runs as functions: load, plan, apply, retry, status, destroy.

In: a spec, the values of its parameters, and the account that the options or the environment name.
Out: plans, events, reports and states as frozen values; errors as exceptions with diagnostics.
The functions of ``import batchspec`` and the commands of ``cli`` are two clients of this package.

Not here: decisions (``plan``), requests (``cloud``), terminals, signals and exit of the process
(``cli``). The package prints nothing and reports its progress to :class:`Notices`.

Names are imported on first use, because imports lengthen the start of a command.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchspec.lazy_imports import lazy_names

if TYPE_CHECKING:
    from batchspec.api.execution import (
        Execution,
        SystemClock,
        deletes,
    )
    from batchspec.api.loading import (
        check_spec,
        load_spec,
        load_spec_and_files,
        value_sources,
    )
    from batchspec.api.operations import (
        Prepared,
        prepare_apply,
        prepare_destroy,
        prepare_plan,
        prepare_retry,
        saved_options,
    )
    from batchspec.api.options import (
        ReportFormat,
        RunOptions,
        Target,
        TaskState,
        variable_text,
    )
    from batchspec.api.prices import orphan_costs
    from batchspec.api.recorded_names import recorded_runs, runs_folder
    from batchspec.api.run_records import (
        RecordFiles,
        RunFolder,
        missing_facts,
        page_path,
        read_costs,
        read_history,
        read_lines,
        report_text,
        write_page,
    )
    from batchspec.api.session import (
        BlobStoreWatch,
        Files,
        NoNotices,
        Notices,
        OpenTarget,
        Session,
        azure_account,
        first_error,
        local_account,
        no_run_of,
        open_session,
        open_target,
        origin_of,
        select_target,
        service_errors,
        start_service,
        stopped_service,
    )
    from batchspec.api.status import (
        list_tasks,
        read_status,
        watch_status,
    )

__getattr__ = lazy_names(
    __name__,
    {
        "execution": "Execution SystemClock deletes",
        "loading": "check_spec load_spec load_spec_and_files value_sources",
        "operations": (
            "Prepared prepare_apply prepare_destroy prepare_plan prepare_retry saved_options"
        ),
        "options": "ReportFormat RunOptions Target TaskState variable_text",
        "prices": "orphan_costs",
        "recorded_names": "recorded_runs runs_folder",
        "run_records": (
            "RecordFiles RunFolder missing_facts page_path read_costs read_history read_lines "
            "report_text write_page"
        ),
        "session": (
            "BlobStoreWatch Files NoNotices Notices OpenTarget Session azure_account first_error "
            "local_account no_run_of open_session open_target origin_of select_target "
            "service_errors start_service stopped_service"
        ),
        "status": "list_tasks read_status watch_status",
    },
)
