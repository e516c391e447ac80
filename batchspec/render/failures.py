"""Failed tasks by cause: as text, with the command that runs them again, and as JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from batchspec.diagnostics import Diagnostic, redact
from batchspec.frozen import frozen
from batchspec.observe import Failure
from batchspec.plan.observed import AccountNames, TaskFacts
from batchspec.render import units
from batchspec.render.output import NodeIds, Style, flat, json_text, wrap
from batchspec.render.run_text import account_line, first_sentence, tail_lines

CAUSES = {
    "timeout": "reached the time limit",
    "upload": "an output file could not be uploaded",
    "preempted": "the node was preempted",
    "start-task": "the start task failed",
    "start-task-running": "the start task had not ended at the time limit",
    "preparation-task": "the preparation task of the job failed",
    "unusable": "the node is unusable",
    "job-ended": "terminated with the job",
    "ended": "terminated by request",
    "command-program-not-found": "the program is not on the node",
    "blob-not-found": "a resource file does not exist",
    "blob-access-denied": "the node is not allowed to read a resource file",
    "resource-container-access-denied": "the node is not allowed to read a container of "
    "resource files",
    "blob-download-misc-error": "a resource file could not be downloaded",
    "blob-download-timed-out": "a resource file could not be downloaded in time",
    "disk-full": "the disk of the node is full",
    "unknown": "the service reports no cause",
}
"""The meaning of a cause. The meaning of ``exit-N`` is in the output of the task."""

_NODE_TASKS = {
    "start-task": "pool.start_task",
    "start-task-running": "pool.start_task",
    "preparation-task": "job.prepare",
}
"""The key of the spec to fix if a task of the nodes failed."""


@frozen
class Failures:
    """The failed tasks and nodes of a run, by cause.

    ``retry`` returns the command that runs the tasks of a cause again (``None``: of all causes); it
    is ``None`` if the next job of a schedule repeats the work. ``apply`` is the command that
    resumes after a fix. ``report`` is the command that shows the last recorded run, empty if there
    is none. ``missing`` is the reason why there is no ``job``.
    """

    account: AccountNames
    name: str
    job: str | None
    found: tuple[Failure, ...]
    retry: Callable[[str | None], str] | None
    apply: str
    report: str = ""
    missing: str = ""

    @property
    def tasks(self) -> int:
        """The number of failed tasks."""
        return sum(failure.count for failure in self.found if not failure.of_nodes)


def failures_json(failures: Failures) -> str:
    """The failures as indented JSON."""
    return json_text(
        {
            "version": 1,
            "target": failures.account.target,
            "job": failures.job,
            "failed": failures.tasks,
            "causes": [
                {
                    "cause": failure.cause,
                    "group": failure.group,
                    "line": redact(failure.line),
                    "kind": "node" if failure.of_nodes else "task",
                    "count": failure.count,
                    "earlier": failure.earlier,
                    "ids": list(failure.named),
                    "message": failure.message,
                    "sample": {
                        "id": failure.sample,
                        "file": failure.file,
                        "text": failure.text,
                    },
                    "command": _command(failures, failure),
                }
                for failure in failures.found
            ],
        },
        indent=2,
    )


def failures_text(failures: Failures, *, color: bool = False, width: int = 80) -> str:
    """The failures as text, one paragraph for each cause."""
    style = Style(color)
    lines = [style("bold", account_line(failures.account))]
    if failures.job is None:
        missing = flat(failures.missing)
        lines.append(f"{missing[:1].upper()}{missing[1:]}.")
        if not failures.found:
            last, run = failures.report, failures.apply
            lines.append(flat(f"For the last run, see: {last}" if last else f"Run it: {run}"))
            return "\n".join(lines)
    if not failures.found:
        return "\n".join([*lines, f"No task of {flat(failures.name)} has failed."])
    if failures.tasks:
        lines.append(f"{units.counted(failures.tasks, 'task')} of {flat(failures.name)} failed.")
    ids = NodeIds()
    for failure in failures.found:
        ids.add(failure.named if failure.of_nodes else ())
    for failure in failures.found:
        lines += ["", *_paragraph(failures, failure, ids, style, width)]
    several = sum(not failure.of_nodes for failure in failures.found) > 1
    if several and failures.retry is not None:
        lines += ["", f"Retry all: {style('bold', flat(failures.retry(None)))}"]
    if failures.retry is not None and any(failure.earlier for failure in failures.found):
        lines += ["", "Tasks of earlier jobs that have since changed in the spec are not retried."]
    return "\n".join(lines)


def _command(failures: Failures, failure: Failure) -> str:
    if failure.of_nodes or failures.retry is None:
        return failures.apply
    return failures.retry(failure.key)


def _paragraph(
    failures: Failures, failure: Failure, ids: NodeIds, style: Style, width: int
) -> Iterator[str]:
    noun = "node" if failure.of_nodes else "task"
    head = f"{style('error', flat(failure.key))}  {units.counted(failure.count, noun)}"
    if failure.earlier:
        part = "" if failure.earlier == failure.count else f"{failure.earlier:,} "
        head += f" ({part}of {'an earlier job' if failure.earlier == 1 else 'earlier jobs'})"
    cause = _cause(failure)
    yield f"{head}: {cause}" if cause else head
    if failure.named:
        more = failure.count - len(failure.named)
        names = ", ".join(flat(ids(name)) for name in failure.named)
        yield from _indented(names + (f", and {more:,} more" if more else ""), width)
    if failure.message and not failure.cause.startswith("exit-"):
        yield from _indented(first_sentence(ids(failure.message)), width)
    sample = f"{noun} {flat(ids(failure.sample))}" if failure.of_nodes else flat(failure.sample)
    tail = list(tail_lines(failure.text))
    if tail:
        yield style("dim", f"  {failure.file} of {sample}:")
        yield from tail
    elif failure.file:
        yield style("dim", f"  {failure.file} of {sample} is empty or deleted")
    if failure.of_nodes:
        task = _NODE_TASKS.get(failure.cause)
        then = f"Fix `{task}`, then" if task else "Then"
        yield f"  {then}: {style('bold', flat(failures.apply))}"
    elif failures.retry is None:
        yield f"  Fix the cause, then update the next job: {style('bold', flat(failures.apply))}"
    else:
        yield f"  Retry: {style('bold', flat(failures.retry(failure.key)))}"


def _cause(failure: Failure) -> str:
    """The common property of the tasks of a group."""
    if failure.group == "other":
        return "other messages, or stderr was not read"
    known = CAUSES.get(failure.cause, "")
    if failure.group and failure.line:
        return f"{known}: {flat(failure.line)}" if known else flat(failure.line)
    if failure.group:
        return known or "nothing was written to stderr"
    return known


def _indented(text: str, width: int) -> Iterator[str]:
    yield from wrap(text, width, first="  ", rest="  ")


def nothing_failed(name: str, *, apply: str) -> str:
    """The message if there is nothing to retry. ``apply``: the command for the other tasks."""
    return (
        f"No task of {flat(name)} has failed with the current spec.\n"
        f"To run tasks that are new, changed or unfinished: {flat(apply)}"
    )


_MOST_CAUSES = 10


def no_such_failure(
    causes: Sequence[str], found: Sequence[Failure], *, look: str, apply: str
) -> Diagnostic:
    """An error: ``retry`` finds nothing with one of the requested causes.

    The message lists the causes of ``found``, the failures of the run.
    """
    named = (f"{flat(failure.key)} ({_number(failure)})" for failure in found)
    there = f"Causes in this run: {units.listed(named, most=_MOST_CAUSES)}." if found else ""
    keys = {key.lower() for failure in found for key in (failure.key, failure.cause)}
    if causes and all(cause.lower() in keys for cause in causes):
        # The nodes were deleted, or the tasks wait for new nodes or have changed.
        summary = f"retry finds nothing to run again for the cause {units.listed(causes)}"
    else:
        by = f" with the cause {units.listed(causes, last='or')}" if causes else ""
        summary = f"no task of the current spec has failed{by}"
    return Diagnostic(
        "nothing-to-retry",
        summary,
        there,
        fix=f"`{look}` lists the causes; `{apply}` runs tasks that have changed or did not run.",
    )


def _number(failure: Failure) -> str:
    return units.counted(failure.count, "node" if failure.of_nodes else "task")


def not_failed(task: str, facts: TaskFacts | None) -> Diagnostic:
    """An error: a task to retry has not failed."""
    state = "it does not exist" if facts is None else f"it is {facts.state}"
    if facts is not None and facts.succeeded:
        state = "it succeeded"
    return Diagnostic(
        "not-failed",
        f"{task} has not failed: {state}",
        fix="Only failed tasks are retried.",
    )
