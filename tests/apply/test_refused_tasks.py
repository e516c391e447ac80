"""An error of the service about a property is shown at the key of the spec."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from batchspec.account import TaskAdded
from batchspec.apply.events import Event, StepFailed
from batchspec.apply.executor import run
from batchspec.diagnostics import Diagnostic
from batchspec.exit_codes import Exit
from batchspec.plan import Plan, Step, Task, Verb
from batchspec.plan.actions import CreateJob, CreatePool, SubmitTasks
from batchspec.plan.observed import AccountNames
from batchspec.spec import Record, read_spec
from tests.apply.fake import FakeAccount

HOUR = timedelta(hours=1)
SPEC = """\
version: 1
name: demo
pool:
  vm_size: standard_d2s_v5
  nodes: 1
  image: ubuntu-24.04
  start_task: {command: hostname, max_task_retry_count: 2}
job:
  max_wall_clock_time: 1h
  priority: 7
tasks:
  sweep:
    for_each: {range: [0, 7]}
    command: hostname
    retries: 3
    resource_files:
      - {http_url: "http://a/b", file_path: b}
      - {http_url: "http://a/c", file_path: c}
"""


class Refusing(FakeAccount):
    """Refuses a property of every task."""

    property = "maxTaskRetryCount"

    class Tasks(FakeAccount.Tasks):
        async def create_collection(
            self, job_id: str, tasks: Sequence[Record], sas: timedelta
        ) -> object:
            return [
                TaskAdded(
                    name := str(task["id"]),
                    problem=Diagnostic(
                        "invalid-property-value",
                        f"task {name}: the service does not accept the value '3' of"
                        f" `{self.account.property}`",
                        detail=f"InvalidPropertyValue\nReason: too many of {name}",
                        fix="correct the property",
                        property=self.account.property,
                    ),
                )
                for task in tasks
            ]


def plan_of(folder: Path) -> Plan:
    path = folder / "spec.yaml"
    path.write_text(SPEC, encoding="utf-8")
    tasks = tuple(Task(f"t{n}", "sweep", n, Record(id=f"t{n}"), ()) for n in range(7))
    steps = (
        Step("job", CreateJob("j", Record(id="j"), HOUR), Verb.CREATE, "job", ""),
        Step("tasks", SubmitTasks("j", "sweep", tasks, HOUR), Verb.SUBMIT, "tasks", "", ("job",)),
    )
    places = read_spec(path).places
    return Plan(AccountNames("local", "a", "b"), "demo", "", "d", steps, (), (), "f", places=places)


async def refusal(account: FakeAccount, folder: Path) -> Diagnostic:
    events: list[Event] = []
    code = await run(plan_of(folder), account.runtime(), events.append, folder / "receipt.jsonl")
    assert code is Exit.SERVICE
    (failed,) = (event for event in events if isinstance(event, StepFailed))
    return failed.problem


async def test_refused_tasks_name_the_property_at_its_key(tmp_path: Path) -> None:
    problem = await refusal(Refusing(), tmp_path)
    assert (problem.code, problem.summary) == (
        "tasks-refused",
        "the service refused 7 tasks of sweep",
    )
    assert problem.where is not None
    assert problem.where.text.strip() == "retries: 3"
    assert problem.detail.splitlines() == [
        "task t0: the service does not accept the value '3' of `maxTaskRetryCount`",
        "  InvalidPropertyValue",
        "  Reason: too many of t0",
        *(
            f"task t{n}: the service does not accept the value '3' of `maxTaskRetryCount`"
            for n in range(1, 5)
        ),
        "... and 2 more",
    ]
    assert problem.fix == "correct the property"


@pytest.mark.parametrize(
    ("action", "name", "line"),
    [
        ("tasks", "commandLine", "command: hostname"),
        # The task is not known, so the position is that of the stage.
        ("tasks", "httpUrl", "sweep:"),
        ("tasks", "affinityInfo", "sweep:"),
        ("job", "priority", "priority: 7"),
        ("job", "maxWallClockTime", "max_wall_clock_time: 1h"),
        # The pool of a job with an auto pool.
        ("job", "targetDedicatedNodes", "nodes: 1"),
        ("pool", "vmSize", "vm_size: standard_d2s_v5"),
        ("pool", "maxTaskRetryCount", "start_task: {command: hostname, max_task_retry_count: 2}"),
    ],
)
def test_the_key_of_a_property(action: str, name: str, line: str, tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    actions = {step.id: step.action for step in plan.steps}
    actions["pool"] = CreatePool("p", Record(id="p"), HOUR)
    problem = Diagnostic("invalid-property-value", "refused", property=name)
    where = plan.located(actions[action], problem).where
    assert where is not None
    assert where.text.strip() == line


def test_an_error_that_names_no_property_has_no_position(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    problem = Diagnostic("server-busy", "busy")
    assert plan.located(plan.steps[0].action, problem) == problem
    other = replace(problem, property="priority")
    assert plan.located(None, other).where is None
