"""``needs``: tasks wait for every task of a stage, within the service's limits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchspec.plan import Task
from batchspec.plan import tasks as plan_tasks
from batchspec.plan.needs import ROOM, link
from batchspec.plan.observed import Stream
from batchspec.spec import EachNumber, FilledRecord, NumberRange, Record, Stage, json_texts
from tests.plan.making import observed, spec, stage

LONGEST = "x" * 48


@dataclass(frozen=True)
class Many:
    """Tasks with long ids, created on iteration."""

    stage: str
    number: int
    body: Record | None = None

    def __iter__(self) -> Iterator[Task]:
        for n in range(self.number):
            name = f"{self.stage}-{LONGEST}-{n:07}"
            yield Task(name, self.stage, n, Record({"id": name, **(self.body or {})}))

    def __len__(self) -> int:
        return self.number


@dataclass(frozen=True)
class Ids:
    """The ids of tasks."""

    tasks: Stream[Task]

    def __iter__(self) -> Iterator[str]:
        return (task.id for task in self.tasks)

    def __len__(self) -> int:
        return len(self.tasks)


def linked(stages: Sequence[Stage], tasks: Mapping[str, Stream[Task]]) -> dict[str, list[Task]]:
    ids = {name: Ids(stream) for name, stream in tasks.items()}
    found = link(stages, tasks, ids, windows=False)
    made = {name: list(stream) for name, stream in found.items()}
    assert {name: len(stream) for name, stream in found.items()} == {
        n: len(t) for n, t in made.items()
    }
    return made


def waits(task: Task) -> tuple[str, ...]:
    depends = task.body.get("dependsOn")
    named = depends.get("taskIds") if isinstance(depends, Record) else ()
    assert isinstance(named, tuple)
    return tuple(map(str, named))


def reached(task: Task, all_tasks: Mapping[str, Task]) -> set[str]:
    """Every task that must be done before this one."""
    found: set[str] = set()
    ahead = list(waits(task))
    while ahead:
        name = ahead.pop()
        if name not in found:
            found.add(name)
            ahead.extend(waits(all_tasks[name]))
    return found


MAP, REDUCE = stage(name="map"), stage(name="reduce", needs=("map",))


@pytest.mark.parametrize(
    ("number", "waiting"),
    [(1, 1), (3, 2), (900, 1), (901, 1), (5_000, 1), (5_000, 300), (1, 30_000), (100_000, 1)],
)
def test_every_task_is_waited_for_within_the_limits(number: int, waiting: int) -> None:
    made = linked([MAP, REDUCE], {"map": Many("map", number), "reduce": Many("reduce", waiting)})
    by_id = {task.id: task for stage_tasks in made.values() for task in stage_tasks}
    everything = {task.id for task in Many("map", number)}
    joins = made["map"][number:]
    assert everything <= reached(made["reduce"][0], by_id)
    assert {waits(task) for task in made["reduce"]} == {waits(made["reduce"][-1])}
    for task in by_id.values():
        assert sum(len(name) for name in waits(task)) < 64_000
        assert len(task.id) <= 64
    assert len(joins) <= number / 500 + 1
    assert sum(len("".join(waits(task))) for task in made["reduce"]) < 4_000_000


def test_few_tasks_are_waited_for_by_name() -> None:
    made = linked([MAP, REDUCE], {"map": Many("map", 3), "reduce": Many("reduce", 1)})
    assert waits(made["reduce"][0]) == tuple(task.id for task in Many("map", 3))
    assert len(made["map"]) == 3
    assert all(not waits(task) for task in made["map"])


def test_a_join_does_nothing_and_has_the_same_id_again() -> None:
    tasks = {"map": Many("map", 2_000), "reduce": Many("reduce", 1)}
    first, second = linked([MAP, REDUCE], tasks), linked([MAP, REDUCE], tasks)
    assert first == second
    join = first["map"][2_000]
    assert join.body["commandLine"] == "/bin/sh -c 'exit 0'"
    assert join.id.startswith("map-join-")
    fewer = linked([MAP, REDUCE], {**tasks, "map": Many("map", 1_999)})
    # Joins that wait for the same tasks are equal; the last join waits for one task less.
    assert first["map"][2_000].id == fewer["map"][1_999].id
    assert first["map"][-1].id != fewer["map"][-1].id


def test_a_join_runs_in_a_container_like_its_stage() -> None:
    settings = Record(imageName="me/tool", containerRunOptions="--rm")
    body = Record(containerSettings=settings)
    made = linked([MAP, REDUCE], {"map": Many("map", 2_000, body), "reduce": Many("reduce", 1)})
    assert made["map"][-1].body["containerSettings"] == Record(
        imageName="me/tool", containerRunOptions="--rm --entrypoint="
    )


def test_own_dependencies_of_a_task_are_kept() -> None:
    body = Record(dependsOn=Record(taskIds=("mine",), taskIdRanges=(Record(start=1, end=2),)))
    made = linked([MAP, REDUCE], {"map": Many("map", 1), "reduce": Many("reduce", 1, body)})
    task = made["reduce"][0]
    assert waits(task) == ("mine", next(iter(Many("map", 1))).id)
    depends = task.body["dependsOn"]
    assert isinstance(depends, Record)
    assert depends["taskIdRanges"] == (Record(start=1, end=2),)


def test_nothing_is_waited_for_if_all_tasks_are_done() -> None:
    found = link([MAP, REDUCE], {"map": (), "reduce": Many("reduce", 1)}, {"map": (), "reduce": ()},
                 windows=True)  # fmt: skip
    assert [waits(task) for task in found["reduce"]] == [()]


@given(
    sizes=st.tuples(st.integers(0, 30), st.integers(0, 30), st.integers(1, 5)),
    room=st.integers(200, 2_000),
)
def test_any_chain_of_stages_waits_for_all_before_it(
    sizes: tuple[int, int, int], room: int
) -> None:
    stages = [stage(name="a"), stage(name="b", needs=("a",)), stage(name="c", needs=("a", "b"))]
    tasks = {it.name: Many(it.name, size) for it, size in zip(stages, sizes, strict=True)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(import_module("batchspec.plan.needs"), "ROOM", room)
        made = linked(stages, tasks)
    by_id = {task.id: task for stage_tasks in made.values() for task in stage_tasks}
    before = {task.id for name in "ab" for task in tasks[name]}
    assert all(before <= reached(task, by_id) for task in made["c"])
    assert all(sum(len(n) + 3 for n in waits(t)) <= room for t in by_id.values())
    assert ROOM == 60_000


def test_tasks_of_earlier_jobs_are_not_waited_for() -> None:
    ranges = ((1, 9), (2, 3), (20, 30))
    depends = Record(
        taskIds=("First", "other"),
        taskIdRanges=tuple(Record(start=start, end=end) for start, end in ranges),
    )
    stages = [stage(name="last", body=Record(dependsOn=depends))]
    tasks = {"last": Many("last", 1, Record(dependsOn=depends))}
    ids = {"last": Ids(tasks["last"])}
    done = [("first", "02", "3"), ("5", "x1")]
    (task,) = link(stages, tasks, ids, windows=False, elsewhere=done)["last"]
    assert task.body["dependsOn"] == Record(
        taskIds=("other",),
        taskIdRanges=tuple(
            Record(start=start, end=end) for start, end in ((1, 1), (4, 4), (6, 9), (20, 30))
        ),
    )
    only = Record(taskIds=("first",), taskIdRanges=(Record(start=2, end=3),))
    stages = [stage(name="last", body=Record(dependsOn=only))]
    tasks = {"last": Many("last", 1, Record(dependsOn=only))}
    (task,) = link(stages, tasks, ids, windows=False, elsewhere=done)["last"]
    assert "dependsOn" not in task.body


def test_dependencies_are_part_of_the_text_of_a_body() -> None:
    one = EachNumber(NumberRange(0, 1))
    stages = stage("run", one, name="a"), stage("run {{ value }}", one, name="b", needs=("a",))
    made = {
        it.name: plan_tasks.expand(spec(*stages), it, observed(), windows=False) for it in stages
    }
    (task,) = linked(stages, made)["b"]
    assert isinstance(task.body, FilledRecord)
    assert waits(task)
    assert json_texts([task.body], str) == json_texts([Record(task.body)], str)
