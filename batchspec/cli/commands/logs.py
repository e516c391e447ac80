"""``batchspec logs``: the output of a task, or of the start task of a node."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from batchspec.cli.completion import complete_node, complete_task
from batchspec.cli.console import (
    ConsoleNotices,
    err,
    note_missing_secrets,
    out,
    out_bytes,
    show_diagnostics,
    use_color,
)
from batchspec.cli.options import (
    SpecFile,
    TargetOption,
    VariableFiles,
    Variables,
    run_options,
)
from batchspec.diagnostics import Diagnostic, UsageError
from batchspec.exit_codes import Exit

if TYPE_CHECKING:
    from batchspec.apply.events import TaskFailed
    from batchspec.cloud import AccountClient
    from batchspec.observe import OutputFile, TaskInJob
    from batchspec.plan.observed import JobFacts
    from batchspec.spec import Spec


async def logs(
    spec: SpecFile,
    tasks: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[TASK...]",
            autocompletion=complete_task,
            help="The id of a task, or a unique part of it. With several tasks or a pattern such "
            "as 'map-*', each line begins with the id of its task.",
            show_default=False,
        ),
    ] = None,
    stderr: Annotated[
        bool, typer.Option("--stderr", help="Show standard error instead of standard output.")
    ] = False,
    follow: Annotated[
        bool,
        typer.Option(
            "--follow",
            "-f",
            help="Print new output until the task ends. Without TASK, follow all running tasks and "
            "those that start later, until the job ends.",
        ),
    ] = False,
    start_task: Annotated[
        str | None,
        typer.Option(
            "--start-task",
            metavar="NODE",
            autocompletion=complete_node,
            help="Show the start task of a node: its id, or a unique part of it.",
        ),
    ] = None,
    target: TargetOption = None,
    variables: Variables = None,
    variable_files: VariableFiles = None,
) -> int:
    """Show the output of tasks. Without TASK, list the tasks that have started."""
    from batchspec.api import load_spec, open_target
    from batchspec.cli.resume_command import resume_command
    from batchspec.observe import counted_jobs, find_node_output, jobs_of
    from batchspec.render import NodeIds
    from batchspec.render.logs import no_output, stored_note

    options = run_options(spec, variables, variable_files, target)
    notices = ConsoleNotices(options)
    loaded = load_spec(options, on_loaded=notices.loaded)
    note_missing_secrets(loaded)
    file = "stderr.txt" if stderr else "stdout.txt"
    async with open_target(target, options.environ, notices) as cloud:
        jobs = counted_jobs(await jobs_of(loaded, cloud))
        if start_task is not None:
            found = await find_node_output(loaded, jobs, cloud, start_task, file)
            ids = NodeIds()
            ids.add((found.node, found.written_by))
            subject = f"the start task of {ids(found.node)}"
            if found.written_by:
                err(stored_note(subject, ids(found.written_by)))
            missing = no_output(subject, file, kept=None)
            return await _show(found.output, cloud, subject, file, follow=follow, missing=missing)
        if not tasks and not follow:
            show = resume_command(options, loaded, "logs", "TASK")
            only = await _list(jobs, cloud, loaded, show)
            if only is None:
                return Exit.DONE
            tasks = [only]
        if tasks and len(tasks) == 1 and not _is_pattern(tasks[0]):
            return await _show_task(loaded, jobs, cloud, tasks[0], file, follow=follow)
        return await _show_many(loaded, jobs, cloud, tasks or (), file, follow=follow)


def _is_pattern(name: str) -> bool:
    return "*" in name or "?" in name


async def _show_many(
    spec: Spec,
    jobs: Sequence[JobFacts],
    cloud: AccountClient,
    names: Sequence[str],
    file: str,
    *,
    follow: bool,
) -> int:
    """Show a file of several tasks, each line after the id of its task.

    ``names`` are ids, unique parts of ids, or patterns; without names, all running tasks are shown.
    With ``follow``, patterns match tasks of the newest job.

    Raises:
        UsageError: there is no such task, no task matches a pattern, or the spec has no job.
    """
    import asyncio

    from batchspec.api import first_error, no_run_of
    from batchspec.apply import POLL_INTERVAL
    from batchspec.observe import StartedTasks, TaskStreams, find_task, matches
    from batchspec.render.logs import PrefixedOutput

    if not jobs:
        raise UsageError(await no_run_of(spec, cloud))

    async def pause() -> None:
        await asyncio.sleep(POLL_INTERVAL[cloud.names.target])

    patterns = [name for name in names if _is_pattern(name)]
    searched = [job.id for job in (jobs[-1:] if follow else reversed(jobs))]
    shown: set[str] = set()

    async def named() -> AsyncIterator[TaskInJob]:
        for name in names:
            if not _is_pattern(name) and (match := await find_task(jobs, cloud, name)) is not None:
                yield match
        for job in searched if patterns else ():
            started = StartedTasks(cloud, job, pause, patterns, earlier=True, follow=follow)
            async for task in started():
                yield task

    tasks = _once(named(), shown) if names else StartedTasks(cloud, searched[0], pause)()
    lines = PrefixedOutput(shown=sys.stdout.isatty(), color=use_color())
    streams = TaskStreams(cloud, spec, (file,), pause, follow=follow)
    with first_error():
        async for output in streams.read(tasks):
            out_bytes(lines(output))
    unmatched = [p for p in patterns if not any(matches(name, p) for name in shown)]
    if unmatched:
        await _report_unmatched(unmatched, searched, cloud)
    return Exit.DONE


async def _once(tasks: AsyncIterator[TaskInJob], shown: set[str]) -> AsyncIterator[TaskInJob]:
    """The tasks whose ids are not in ``shown``, to which they are added."""
    async for task in tasks:
        if (name := task.seen.facts.id) not in shown:
            shown.add(name)
            yield task


async def _report_unmatched(
    patterns: Sequence[str], searched: Sequence[str], cloud: AccountClient
) -> None:
    """Show the patterns whose tasks have not started.

    Raises:
        UsageError: no task matches a pattern.
    """
    from batchspec.observe import patterns_with_tasks
    from batchspec.render.logs import no_match, none_started

    waiting = await patterns_with_tasks(cloud, searched, patterns)
    if waiting:
        show_diagnostics([none_started(pattern) for pattern in waiting])
    errors = [no_match(pattern) for pattern in patterns if pattern not in waiting]
    if errors:
        raise UsageError(*errors)


async def _show_task(
    spec: Spec,
    jobs: Sequence[JobFacts],
    cloud: AccountClient,
    name: str,
    file: str,
    *,
    follow: bool,
) -> int:
    """Show a file of the task that ``name`` identifies."""
    import asyncio

    from batchspec.api import no_run_of
    from batchspec.apply import POLL_INTERVAL
    from batchspec.observe import (
        find_task,
        find_unstartable,
        output_of_task,
        stored_output,
        wait_for_start,
    )
    from batchspec.render.logs import never_starts, no_output, not_started, waiting_note

    try:
        match = await find_task(jobs, cloud, name)
    except UsageError as error:
        if error.problems[0].code != "no-such-task":
            raise
        return await _show_elsewhere(spec, cloud, name, file, error)
    if match is None:
        # The job may be deleted while its logs are kept.
        output = stored_output(cloud, spec, name, file)
        missing = await no_run_of(spec, cloud)
        return await _show(output, cloud, name, file, follow=False, missing=missing)
    facts = match.seen.facts
    if facts.state in {"active", "preparing"}:
        why = await find_unstartable(cloud, match)
        if why is None and follow:
            err(waiting_note(facts.id))
            interval = POLL_INTERVAL[cloud.names.target]
            why = await wait_for_start(cloud, match, lambda: asyncio.sleep(interval))
        if why is not None or not follow:
            note = never_starts(facts.id, why) if why is not None else not_started(facts.id)
            show_diagnostics([note])
            return Exit.DONE
    missing = no_output(facts.id, file, kept=any(stage.logs for stage in spec.stages))
    output = output_of_task(cloud, spec, match, file)
    return await _show(output, cloud, facts.id, file, follow=follow, missing=missing)


async def _show_elsewhere(
    spec: Spec, cloud: AccountClient, name: str, file: str, error: UsageError
) -> int:
    """Show the remaining output of a task that is not in the counted jobs of the run.

    Earlier runs printed ids, too: of tasks in jobs that no longer count, of deleted tasks whose
    logs are kept or recorded on this disk, and of nodes.

    Raises:
        UsageError: ``error``, if there is nothing.
    """
    import contextlib

    from batchspec.observe import (
        find_node_output,
        find_task,
        jobs_of,
        output_of_task,
        stored_output,
    )
    from batchspec.render.logs import no_output, recorded_note

    jobs = await jobs_of(spec, cloud)
    outputs = []
    with contextlib.suppress(UsageError):
        if (match := await find_task(jobs, cloud, name)) is not None:
            outputs.append(output_of_task(cloud, spec, match, file))
    outputs.append(stored_output(cloud, spec, name, file))
    with contextlib.suppress(UsageError):
        outputs.append((await find_node_output(spec, jobs, cloud, name, file)).output)
    for output in outputs:
        async for _ in output.read():
            break
        if output.found:
            output.offset = 0
            missing = no_output(name, file, kept=None)
            return await _show(output, cloud, name, file, follow=False, missing=missing)
    failure = _find_recorded(spec, name)
    if failure is None:
        raise error
    err(recorded_note(failure))
    out(failure.stderr.rstrip("\n"))
    return Exit.DONE


def _find_recorded(spec: Spec, name: str) -> TaskFailed | None:
    """The newest recorded failure of the task with this id, or with an id that contains it."""
    from batchspec.api import recorded_runs, runs_folder
    from batchspec.render import recorded_failures

    found: dict[str, TaskFailed] = {}
    for record in reversed(recorded_runs(runs_folder(spec.path, spec.name))):
        with record.open(encoding="utf-8", errors="replace") as lines:
            for failure in recorded_failures(lines):
                found.setdefault(failure.task.lower(), failure)
    wanted = name.lower()
    if wanted in found:
        return found[wanted]
    containing = [failure for task, failure in found.items() if wanted in task]
    return containing[0] if len(containing) == 1 else None


async def _show(
    output: OutputFile,
    cloud: AccountClient,
    subject: str,
    file: str,
    *,
    follow: bool,
    missing: Diagnostic,
) -> int:
    """Write the output to standard output as it arrives.

    Raises:
        UsageError: with ``missing``; there is no such file.
    """
    import asyncio

    from batchspec.apply import POLL_INTERVAL
    from batchspec.render.logs import OutputRedactor, empty_note

    interval = POLL_INTERVAL[cloud.names.target]
    lines = OutputRedactor(shown=sys.stdout.isatty())
    empty = True
    async for data in output.follow(lambda: asyncio.sleep(interval)) if follow else output.read():
        empty = False
        out_bytes(lines(data))
    out_bytes(lines.end())
    if not output.found:
        raise UsageError(missing)
    if empty:
        err(empty_note(subject, file, other="" if file == "stderr.txt" else "--stderr"))
    return Exit.DONE


async def _list(
    jobs: Sequence[JobFacts], cloud: AccountClient, spec: Spec, show: str
) -> str | None:
    """List the tasks that have started. If there is only one, return its id instead.

    ``show`` is the command that shows the output of one of them.

    Raises:
        UsageError: the spec has no job.
    """
    from batchspec.api import no_run_of
    from batchspec.observe import started_tasks
    from batchspec.render.logs import list_notes, task_line

    if not jobs:
        raise UsageError(await no_run_of(spec, cloud))
    color = use_color()
    first = None
    count = 0
    async for _, task in started_tasks(jobs, cloud):
        count += 1
        if count == 1:
            first = task
            continue
        if first is not None:
            out(task_line(first, color=color))
            first = None
        out(task_line(task, color=color))
    if first is not None:
        return first.id
    for note in list_notes(count, show):
        err(note)
    return None
