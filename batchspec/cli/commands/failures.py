"""``batchspec failures``: failed tasks by cause, each with the command that runs them again."""

from __future__ import annotations

from batchspec.cli.console import (
    ConsoleNotices,
    note_missing_secrets,
    out,
    out_document,
    use_color,
    width,
)
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


async def failures(
    spec: SpecFile,
    target: TargetOption = None,
    variables: Variables = None,
    variable_files: VariableFiles = None,
    output_format: TextOrJson = Format.TEXT,
) -> int:
    """Show failures by cause: count, output of one task, and the command to retry them."""
    from batchspec.api import load_spec, no_run_of, open_target, recorded_runs, runs_folder
    from batchspec.cli.resume_command import resume_command
    from batchspec.observe import counted_jobs, failures_of, jobs_of, pool_of
    from batchspec.render import Failures, failures_json, failures_text

    options = run_options(spec, variables, variable_files, target)
    notices = ConsoleNotices(options)
    loaded = load_spec(options, on_loaded=notices.loaded)
    note_missing_secrets(loaded)

    def retry(cause: str | None) -> str:
        return resume_command(options, loaded, "retry", *(("--cause", cause) if cause else ()))

    async with open_target(target, options.environ, notices) as cloud:
        jobs = counted_jobs(await jobs_of(loaded, cloud))
        found = await failures_of(loaded, jobs, pool_of(loaded, jobs), cloud)
        missing = "" if jobs else (await no_run_of(loaded, cloud)).summary
    recorded = bool(recorded_runs(runs_folder(loaded.path, loaded.name)))
    shown = Failures(
        account=cloud.names,
        name=loaded.name,
        job=jobs[-1].id if jobs else None,
        found=found,
        retry=None if loaded.job.schedule is not None else retry,
        apply=resume_command(options, loaded, "apply"),
        report=resume_command(options, loaded, "report") if recorded else "",
        missing=missing,
    )
    if output_format is Format.JSON:
        out_document(failures_json(shown))
    else:
        out(failures_text(shown, color=use_color(), width=width()))
    return Exit.DONE
