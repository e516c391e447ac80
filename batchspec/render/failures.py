"""Failed tasks by cause: as text, with the command that runs them again, and as JSON."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from batchspec.diagnostics import Diagnostic, redact
from batchspec.observe.failures import Failure
from batchspec.plan.observed import Account, TaskFacts
from batchspec.render import units
from batchspec.render.event_text import tail_lines
from batchspec.render.output import flat, json_text
from batchspec.render.step_text import account_line
from batchspec.render.style import Style

_WORDS = {
    "timeout": "ran into the time limit",
    "upload": "an output file could not be uploaded",
    "preempted": "the node was taken away",
    "start-task": "the start task failed",
    "preparation-task": "the preparation task of the job failed",
    "unusable": "the service cannot use the node",
    "job-ended": "the job was ended while they ran",
    "ended": "ended by request",
    "command-program-not-found": "the program is not on the node",
    "unknown": "the service gives no reason",
}

_NODE_TASKS = {"start-task": "pool.start_task", "preparation-task": "job.prepare"}
"""The keys of a spec to fix where a task of the nodes failed."""


@dataclass(frozen=True, slots=True)
class Failures:
    """All that failed in a run; ``total`` is how many tasks its newest job has.

    ``retry`` makes the command that runs the tasks of a cause again (of all causes: ``None``);
    there is none where the next job of a schedule does the work. ``apply`` is the one that resumes
    after something was fixed. ``report`` is the command that shows the last recorded run, empty
    where there is none.
    """

    account: Account
    name: str
    job: str | None
    found: tuple[Failure, ...]
    retry: Callable[[str | None], str] | None
    apply: str
    report: str = ""

    @property
    def tasks(self) -> int:
        """How many tasks failed."""
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
    """The failures in paragraphs, one a cause."""
    style = Style(color)
    lines = [style("bold", account_line(failures.account))]
    if failures.job is None:
        words = f"There is no job of {flat(failures.name)} in the account."
        if not failures.found:
            recorded = f" See the last run here: {flat(failures.report)}" if failures.report else ""
            return "\n".join([*lines, words + recorded])
        lines.append(words)
    if not failures.found:
        return "\n".join([*lines, f"No task of {flat(failures.name)} has failed."])
    if failures.tasks:
        lines.append(f"{units.counted(failures.tasks, 'task')} of {flat(failures.name)} failed.")
    for failure in failures.found:
        lines += ["", *_paragraph(failures, failure, style, width)]
    several = sum(not failure.of_nodes for failure in failures.found) > 1
    if several and failures.retry is not None:
        lines += ["", f"Retry them all: {style('bold', flat(failures.retry(None)))}"]
    if failures.retry is not None and any(failure.earlier for failure in failures.found):
        lines += ["", "Tasks of earlier jobs that have changed in the spec since are not retried."]
    return "\n".join(lines)


def _command(failures: Failures, failure: Failure) -> str:
    if failure.of_nodes or failures.retry is None:
        return failures.apply
    return failures.retry(failure.key)


def _paragraph(failures: Failures, failure: Failure, style: Style, width: int) -> Iterator[str]:
    noun = "node" if failure.of_nodes else "task"
    head = f"{style('error', flat(failure.key))}  {units.counted(failure.count, noun)}"
    if failure.earlier:
        part = "" if failure.earlier == failure.count else f"{failure.earlier:,} "
        head += f" ({part}of {'an earlier job' if failure.earlier == 1 else 'earlier jobs'})"
    words = _words(failure)
    yield f"{head}: {words}" if words else head
    if failure.named:
        more = failure.count - len(failure.named)
        names = ", ".join(flat(name) for name in failure.named)
        yield from _wrapped(names + (f", and {more:,} more" if more else ""), width)
    if failure.message and not failure.cause.startswith("exit-"):
        yield from _wrapped(flat(failure.message), width)
    tail = list(tail_lines(failure.text))
    if tail:
        yield style("dim", f"  {failure.file} of {flat(failure.sample)}:")
        yield from tail
    elif failure.file:
        yield style("dim", f"  {failure.file} of {flat(failure.sample)} is empty or gone")
    if failure.of_nodes:
        task = _NODE_TASKS.get(failure.cause)
        first = f"Fix `{task}`, then" if task else "Then"
        yield f"  {first}: {style('bold', flat(failures.apply))}"
    elif failures.retry is None:
        yield f"  Fix it, then, for the next job: {style('bold', flat(failures.apply))}"
    else:
        yield f"  Retry: {style('bold', flat(failures.retry(failure.key)))}"


def _words(failure: Failure) -> str:
    """What the tasks of a group have in common, in short."""
    if failure.group == "other":
        return "other messages, or not read"
    known = _WORDS.get(failure.cause, "")
    if failure.group and failure.line:
        return f"{known}: {flat(failure.line)}" if known else flat(failure.line)
    if failure.group:
        return known or "nothing was written to stderr"
    return known


def _wrapped(text: str, width: int) -> Iterator[str]:
    yield from textwrap.wrap(
        text,
        width,
        initial_indent="  ",
        subsequent_indent="  ",
        break_on_hyphens=False,
        break_long_words=False,
    )


def nothing_failed(name: str, *, look: str) -> str:
    """That a retry has nothing to do."""
    return f"No task of {flat(name)} has failed as the spec is now. See: {flat(look)}"


def no_job_to_retry(name: str, *, apply: str) -> Diagnostic:
    """That the account has no job of the spec, so that no failed task is known."""
    return Diagnostic(
        "no-run",
        f"there is no job of {name} in the account, so no failed task can be retried",
        fix=f"`{apply}` runs all tasks of the spec.",
    )


def no_such_failure(causes: Sequence[str], *, look: str, apply: str) -> Diagnostic:
    """That no failed task is what was asked for."""
    by = f" by {units.listed(causes, last='or')}" if causes else ""
    return Diagnostic(
        "nothing-to-retry",
        f"no task of the spec as it is now has failed{by}",
        fix=f"`{look}` shows what failed, and by what; `{apply}` runs what has changed since.",
    )


def not_failed(task: str, facts: TaskFacts | None) -> Diagnostic:
    """That a task that is to be retried did not fail."""
    state = "it is not there" if facts is None else f"it is {facts.state}"
    if facts is not None and facts.succeeded:
        state = "it succeeded"
    return Diagnostic(
        "not-failed",
        f"{task} has not failed: {state}",
        fix="Only failed tasks are retried.",
    )
