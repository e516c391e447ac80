"""``batchspec status``: the present state of a run."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from batchspec.cli.console import ConsoleNotices, note_missing_secrets, out, use_color
from batchspec.cli.options import (
    Format,
    SpecFile,
    TargetOption,
    TextOrJson,
    VariableFiles,
    Variables,
    run_options,
)
from batchspec.exit_codes import Exit

if TYPE_CHECKING:
    from batchspec.spec import Spec


class _StatusNotices(ConsoleNotices):
    """The cause of a failed start task contains its output, with secrets that are not known."""

    _noted = False

    def loaded(self, spec: Spec) -> None:
        """Complete commands for the spec, and print which secrets are not redacted."""
        super().loaded(spec)
        if not self._noted:
            note_missing_secrets(spec)
        self._noted = True


async def status(
    spec: SpecFile,
    target: TargetOption = None,
    variables: Variables = None,
    variable_files: VariableFiles = None,
    output_format: TextOrJson = Format.TEXT,
) -> int:
    """Show the current state of a run: pool, nodes, job, task counts, time left."""
    from batchspec.api import read_status
    from batchspec.cli.resume_command import completed_problem, completed_wait
    from batchspec.render import status_json, status_text

    options = run_options(spec, variables, variable_files, target)
    found = await read_status(options, _StatusNotices(options))
    found = replace(
        found,
        waits=tuple(map(completed_wait, found.waits)),
        missing=tuple(map(completed_problem, found.missing)),
    )
    if output_format is Format.JSON:
        out(status_json(found))
    else:
        out(status_text(found, color=use_color()))
    return Exit.DONE
