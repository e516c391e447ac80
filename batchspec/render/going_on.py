"""How a run goes on that stopped, or is over: which commands there are, and what each does."""

from __future__ import annotations

from collections.abc import Mapping

from batchspec.apply.events import Outcome
from batchspec.problems import Problem, Severity

_NEXT: Mapping[Outcome | None, Mapping[str, str]] = {
    Outcome.INTERRUPTED: {
        "apply": "goes on from there",
        "status": "looks how far it is",
    },
    Outcome.DETACHED: {
        "attach": "watches it, fetches the results and cleans up",
        "status": "looks how far it is",
    },
    Outcome.SCHEDULED: {
        "status": "says how it is, and when the next job comes",
        "attach": "watches its newest job",
        "destroy": "deletes it with its jobs and all else",
    },
    Outcome.TASKS_FAILED: {
        "failures": "shows them by cause",
        "retry": "runs them again",
    },
    Outcome.TIME_LIMIT: {
        "apply": "runs the rest",
        "failures": "shows what failed",
    },
}


def next_commands(outcome: Outcome | None) -> Mapping[str, str]:
    """What can be done after a run that ended so: verbs of the command line, and what they do."""
    return _NEXT.get(outcome, {})


def stopping() -> Problem:
    """What is said at the first Ctrl-C."""
    return Problem(
        "stopping",
        "stopping when what is in flight is done; nothing is deleted",
        hint="Ctrl-C once more stops at once.",
        severity=Severity.NOTE,
    )


def unrecorded(why: str) -> Problem:
    """That the record of the run cannot be written; the run itself goes on."""
    return Problem(
        "unrecorded",
        f"the record of this run cannot be written: {why}",
        hint="The run goes on; `batchspec report` will not know of it.",
        severity=Severity.WARNING,
    )
