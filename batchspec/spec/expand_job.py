"""The short forms of the job and its schedule, spelled out with the names of the SDK."""

from __future__ import annotations

from collections.abc import Mapping

from batchspec.spec.expand_task import expanded_task, settings
from batchspec.spec.node import Node, made

_FAILURE = {"continue": "noaction", "terminate": "performexitoptionsjobaction"}
_LIMITS = {
    "max_wall_clock_time": "max_wall_clock_time",
    "max_retries": "max_task_retry_count",
    "retries": "max_task_retry_count",
    "retention": "retention_time",
}
_SCHEDULE = {
    "every": "recurrence_interval",
    "start": "do_not_run_until",
    "until": "do_not_run_after",
    "window": "start_window",
}


def expanded_job(job: Node, *, depends: bool) -> Node:
    """The job with the names of the SDK. ``depends``: some tasks wait for others."""
    members: dict[str, Node | None] = dict.fromkeys(
        ("env", "prepare", "release", "on_task_failure")
    )
    if (env := job.get("env")) is not None:
        members["common_environment_settings"] = settings(env)
    for key in ("job_preparation_task", "job_release_task"):
        if (task := job.get(key)) is not None:
            members[key] = expanded_task(task)
    if (prepare := job.get("prepare")) is not None:
        task = constrained(prepare, ("max_wall_clock_time", "retries", "retention"))
        members["job_preparation_task"] = expanded_task(task)
    if (release := job.get("release")) is not None:
        task = renamed(release, {"retention": "retention_time"})
        members["job_release_task"] = expanded_task(task)
    if (failure := job.get("on_task_failure")) is not None:
        members["task_failure_mode"] = made(_FAILURE[str(failure.value)], failure)
    if (schedule := job.get("schedule")) is not None:
        members["schedule"] = renamed(schedule, _SCHEDULE)
    if depends and job.get("uses_task_dependencies") is None:
        members["uses_task_dependencies"] = made(True, job)
    return constrained(job.with_(**members), ("max_wall_clock_time", "max_retries"))


def ends_job(job: Node) -> bool:
    """Whether a failed task ends the job, unless its exit conditions say otherwise."""
    mode = job.get("on_task_failure") or job.get("task_failure_mode")
    return mode is not None and mode.value in ("terminate", _FAILURE["terminate"])


def constrained(node: Node, keys: tuple[str, ...]) -> Node:
    """The limits of a job or task moved into its ``constraints``."""
    given = {_LIMITS[key]: node.get(key) for key in keys if node.get(key) is not None}
    if not given:
        return node
    constraints = node.get("constraints") or made({}, node)
    away: dict[str, Node | None] = dict.fromkeys(keys)
    return node.with_(**away, constraints=constraints.with_(**given))


def renamed(node: Node, names: Mapping[str, str]) -> Node:
    """The members under their long names; their order stays."""
    return made({names.get(key, key): child for key, child in node.members.items()}, node)
