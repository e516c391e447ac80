"""The events of a run, for ``match`` statements: ``events.TasksSeen``, ``events.StepDone`` ...

``docs/events.md`` describes them and their fields.
"""

from batchspec.apply.events import (
    Event,
    NodeFailed,
    NodesSeen,
    Noticed,
    Outcome,
    RunEnded,
    RunStarted,
    ScheduleSeen,
    StagesSeen,
    Stamped,
    StepDone,
    StepFailed,
    StepProgress,
    StepSkipped,
    StepStarted,
    TaskFailed,
    TasksSeen,
    Waiting,
)

__all__ = [
    "Event",
    "NodeFailed",
    "NodesSeen",
    "Noticed",
    "Outcome",
    "RunEnded",
    "RunStarted",
    "ScheduleSeen",
    "StagesSeen",
    "Stamped",
    "StepDone",
    "StepFailed",
    "StepProgress",
    "StepSkipped",
    "StepStarted",
    "TaskFailed",
    "TasksSeen",
    "Waiting",
]
