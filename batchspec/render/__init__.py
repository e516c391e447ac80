"""Text for people and the published JSON: plans, progress, reports, status, diagnostics.

In: plans, events, reports and diagnostics as values. Out: text, JSON or HTML, or lines on a stream
that the caller passes; everything that is printed is redacted.

The public interface is the names below and these modules with the texts of one command or of
questions: ``doctor``, ``local``, ``logs``, ``questions``.

Not here: decisions, requests, files other than the page's style sheet, and prompts (``cli`` asks).
Only this package imports rich, and only in the live view, because it would double the start time of
``--help``. For the same reason names are imported on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchspec.lazy_imports import lazy_names

if TYPE_CHECKING:
    from batchspec.render.cost import (
        ActualRun,
        actual_lines,
        cost_json,
        cost_text,
        kept_text,
        spent_text,
    )
    from batchspec.render.diagnostics import (
        diagnostic_json,
        diagnostics_json,
        diagnostics_text,
    )
    from batchspec.render.failures import (
        Failures,
        failures_json,
        failures_text,
        no_such_failure,
        not_failed,
        nothing_failed,
    )
    from batchspec.render.inventory import (
        containers_json,
        containers_text,
        file_line,
        files_json,
        inventory_json,
        inventory_text,
    )
    from batchspec.render.json_lines import (
        JsonView,
        NodeRow,
        RecordHead,
        TaskRow,
        node_row,
        nodes_head,
        read_head,
        read_nodes,
        read_record,
        read_tasks,
        recorded_failures,
        row_line,
        task_row,
        tasks_head,
    )
    from batchspec.render.output import NodeIds, json_text, symbols_for, wants_color, wrap
    from batchspec.render.plan import (
        cost_markdown,
        plan_json,
        plan_markdown,
        plan_text,
        refusal_markdown,
    )
    from batchspec.render.progress import Kind, View, is_live, open_view
    from batchspec.render.progress.screen import Page
    from batchspec.render.report import Report, StepState, Tally
    from batchspec.render.report_export import (
        report_as_json,
        run_as_trace,
        tasks_as_csv,
    )
    from batchspec.render.report_page import (
        Applied,
        Attempt,
        RunHistory,
        TaskFile,
        build_timeline,
        last_run,
        merged_nodes,
        page_html,
    )
    from batchspec.render.run_text import account_line, page_written
    from batchspec.render.status import (
        Status,
        status_json,
        status_text,
        task_rows_json,
        task_rows_text,
    )
    from batchspec.render.summary import (
        command_not_notified,
        files_exist,
        files_written,
        folder_unwritable,
        next_commands,
        not_notified,
        notification_text,
        plan_saved,
        record_unwritable,
        spec_imported,
        stopping,
        summary_line,
        summary_text,
        webhook_not_notified,
    )
    from batchspec.render.units import transferred

__getattr__ = lazy_names(
    __name__,
    {
        "cost": "ActualRun actual_lines cost_json cost_text kept_text spent_text",
        "diagnostics": "diagnostic_json diagnostics_json diagnostics_text",
        "failures": (
            "Failures failures_json failures_text no_such_failure not_failed nothing_failed"
        ),
        "inventory": (
            "containers_json containers_text file_line files_json inventory_json inventory_text"
        ),
        "json_lines": (
            "JsonView NodeRow RecordHead TaskRow node_row nodes_head read_head read_nodes "
            "read_record read_tasks recorded_failures row_line task_row tasks_head"
        ),
        "output": "NodeIds json_text symbols_for wants_color wrap",
        "plan": "cost_markdown plan_json plan_markdown plan_text refusal_markdown",
        "progress": "Kind View is_live open_view",
        "progress.screen": "Page",
        "report": "Report StepState Tally",
        "report_export": "report_as_json run_as_trace tasks_as_csv",
        "report_page": (
            "Applied Attempt RunHistory TaskFile build_timeline last_run merged_nodes page_html"
        ),
        "run_text": "account_line page_written",
        "status": "Status status_json status_text task_rows_json task_rows_text",
        "summary": (
            "command_not_notified files_exist files_written folder_unwritable next_commands "
            "not_notified notification_text plan_saved record_unwritable spec_imported stopping "
            "summary_line summary_text webhook_not_notified"
        ),
        "units": "transferred",
    },
)
