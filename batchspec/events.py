"""The events of a run, for ``match`` statements: ``events.TasksSeen``, ``events.StepDone`` ...

``docs/events.md`` describes them and their fields.
"""

from batchspec.apply.events import (
    Event,
    FailuresSeen,
    LongestSeen,
    NodeFailed,
    NodesSeen,
    Noticed,
    Outcome,
    PricesSeen,
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
    "FailuresSeen",
    "LongestSeen",
    "NodeFailed",
    "NodesSeen",
    "Noticed",
    "Outcome",
    "PricesSeen",
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
