"""Pools, jobs and tasks in the form of the REST API: JSON of ``az batch``, or of a live account.

Tasks that differ only in a few words of their command become one stage with ``for_each``.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from batchspec.importers.draft import (
    JOB,
    POOL,
    Body,
    Draft,
    Json,
    cloud_service,
    image_members,
    stage_section,
    unsigned,
    vm_size_note,
)
from batchspec.importers.rest import RestReader, member, read_url, records
from batchspec.spec import LOGS, without_clean

_MOST_VARIABLES = 4
"""The maximum number of words that differ between the commands of one stage."""
_COMPARED = frozenset(
    (
        *("resourcefiles", "outputfiles", "environmentsettings", "constraints", "dependson"),
        *("useridentity", "requiredslots", "containersettings", "exitconditions"),
        *("multiinstancesettings", "affinityinfo", "applicationpackagereferences"),
    )
)


@dataclass(frozen=True, slots=True)
class TaskGroup:
    """Tasks whose command lines differ in at most a few words.

    ``pieces`` are the shared parts; between them are the variables of ``names``. ``variables`` are
    their names by their values, one value for each task.
    """

    bodies: Sequence[Json]
    pieces: Sequence[str]
    names: Sequence[str] = ()
    variables: Mapping[tuple[str, ...], str] = field(default_factory=dict)

    @property
    def ids(self) -> list[str]:
        """The ids of the tasks."""
        return [str(member(body, "id") or "") for body in self.bodies]

    @property
    def pattern(self) -> tuple[str, str] | None:
        """The text before and after the only variable in every id; ``None`` without a variable."""
        if len(self.variables) != 1:
            return None
        (values,) = self.variables
        return _pattern(self.ids, values)


def task_groups(bodies: Sequence[Json]) -> Iterator[TaskGroup]:
    """The tasks in few groups, in the order of the first task of each.

    Tasks are compared if their ids differ only in a number at the end, or else if their commands
    begin with the same word.
    """
    found: dict[int, TaskGroup] = {}
    left = list(range(len(bodies)))
    for kind in (_stem, _program):
        buckets: dict[tuple[object, ...], list[int]] = {}
        for index in left:
            buckets.setdefault((_signature(bodies[index]), *kind(bodies[index])), []).append(index)
        left_over: list[int] = []
        for indexes in buckets.values():
            alike = _alike([bodies[index] for index in indexes]) if len(indexes) > 1 else None
            if alike is None:
                left_over += indexes
            else:
                found[indexes[0]] = alike
        left = sorted(left_over)
    found |= {index: TaskGroup([bodies[index]], [_command_line(bodies[index])]) for index in left}
    yield from (found[index] for index in sorted(found))


def _stem(body: Json) -> tuple[object, ...]:
    words = _command_line(body).split()
    task = str(member(body, "id") or "")
    return without_number(task) if task[-1:].isdecimal() else task, len(words)


def without_number(text: str) -> str:
    """An id without the number at its end and the separators before the number."""
    end = len(text)
    while end and text[end - 1].isdecimal():
        end -= 1
    while end and not text[end - 1].isalnum():
        end -= 1
    return text[:end]


def _program(body: Json) -> tuple[object, ...]:
    words = _command_line(body).split()
    return " ".join(words[:1]), len(words)


def _command_line(body: Json) -> str:
    return unsigned(str(member(body, "commandLine") or ""))


def _alike(bodies: Sequence[Json]) -> TaskGroup | None:
    """Tasks as one group; ``None`` if their command lines differ in too much."""
    found = _shared([_command_line(body) for body in bodies])
    if found is None:
        return None
    pieces, columns = found
    different = list(dict.fromkeys(columns))
    names = {column: f"value{number}" for number, column in enumerate(different, 1)}
    return TaskGroup(bodies, pieces, [names[column] for column in columns], names)


def _shared(lines: Sequence[str]) -> tuple[list[str], list[tuple[str, ...]]] | None:
    """The pieces that all lines share, and the texts between them in each line, by column."""
    words = [re.split(r"(\s+)", line) for line in lines]
    if len({len(row) for row in words}) != 1:
        return None
    columns = list(zip(*words, strict=True))
    varying = [index for index, column in enumerate(columns) if len(set(column)) > 1]
    if len(varying) > min(_MOST_VARIABLES, len(lines[0].split()) - 1) or any(
        index % 2 for index in varying
    ):
        return None
    pieces: list[str] = []
    values: list[tuple[str, ...]] = []
    before = ""
    for index, column in enumerate(columns):
        if index not in varying:
            before += column[0]
            continue
        start, end = _around(column)
        pieces.append(before + start)
        before = end
        values.append(tuple(word[len(start) : len(word) - len(end)] for word in column))
    return [*pieces, before], values


def _around(words: Sequence[str]) -> tuple[str, str]:
    """The shared prefix and suffix of words, up to a character other than a digit or letter."""
    start = _common_prefix(words)
    start = start.rstrip("0123456789.")
    rest = [word[len(start) :] for word in words]
    end = _common_prefix([word[::-1] for word in rest])[::-1]
    return start, end[len(re.match(r"[0-9]*", end)[0]) :]  # type: ignore[index]


def _common_prefix(words: Sequence[str]) -> str:
    # The first and the last word in order differ at the first character that not all words share.
    first, last = min(words), max(words)
    shared = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False))
    return first[: sum(1 for _ in shared)]


def _pattern(ids: Sequence[str], values: Sequence[str]) -> tuple[str, str] | None:
    """The text before and after the value in each id; ``None`` if an id differs."""
    if not values or not values[0] or values[0] not in ids[0]:
        return None
    at = ids[0].rindex(values[0])
    before, after = ids[0][:at], ids[0][at + len(values[0]) :]
    same = all(name == f"{before}{value}{after}" for name, value in zip(ids, values, strict=True))
    valid = all(re.fullmatch(r"[\w-]+", value, re.ASCII) for value in values)
    return (before, after) if same and valid else None


def typed(values: Sequence[str]) -> list[str | int]:
    """Numbers as numbers, if their text stays the same."""
    return [int(each) if re.fullmatch(r"0|[1-9]\d{0,14}", each) else each for each in values]


def number_range(values: Sequence[str]) -> Body | None:
    """The range of the values, if they form a range."""
    numbers = typed(values)
    if len(numbers) < 3 or not all(isinstance(each, int) for each in numbers):
        return None
    first, second, last = int(numbers[0]), int(numbers[1]), int(numbers[-1])
    step = second - first
    expected = range(first, last + 1, step) if step > 0 else ()
    if len(expected) != len(numbers) or numbers != list(expected):
        return None
    return {"range": [first, last + 1] if step == 1 else [first, last + 1, step]}


def is_log(file: Json) -> bool:
    """Whether an output stores stdout and stderr, which a stage does by default."""
    return bool(member(file, "filePattern") == LOGS)


def _signature(body: Json) -> str:
    """The common properties of the tasks of a stage: all except id, name and command."""
    kept = {
        key: value
        for key, value in body.items()
        if key.lower() in _COMPARED and value not in (None, [], {})
    }
    # The path of the logs contains the id.
    kept |= {"logs": [each for each in records(kept.pop("outputFiles", [])) if not is_log(each)]}
    return json.dumps(kept, sort_keys=True, default=str)


_POOL_SPECIAL = (
    *("id", "startTask", "virtualMachineConfiguration", "targetDedicatedNodes", "targetDedicated"),
    *("targetLowPriorityNodes", "enableAutoScale", "autoScaleFormula"),
    *("autoScaleEvaluationInterval", "packageReferences", "cloudServiceConfiguration", "identity"),
)
_TASK_SPECIAL = (
    *("id", "commandLine", "resourceFiles", "outputFiles", "environmentSettings", "runElevated"),
    *("userIdentity", "multiInstanceSettings", "packageReferences", "dependsOn", "constraints"),
)
_NODE_TASK_SPECIAL = (
    *("id", "commandLine", "resourceFiles", "environmentSettings", "runElevated"),
    "userIdentity",
)
_JOB_SPECIAL = (
    *("id", "poolInfo", "constraints", "jobPreparationTask", "jobReleaseTask", "taskFactory"),
    *("commonEnvironmentSettings", "applicationTemplateInfo", "usesTaskDependencies"),
)
_DEFAULT_RETENTION = ("retentionTime", "P7D")
_MARKS = re.compile(r" \[[^\[\]]* work [0-9a-f]+\]$")
"""The suffix that batchspec adds to the display names of its tasks."""
_PLAIN = re.compile(r"[\w./:=,+-]*", re.ASCII)
"""Values that need no quotes."""


class BodyImporter:
    """Fills a draft from bodies of the REST API."""

    def __init__(self, draft: Draft, reader: RestReader) -> None:
        self.draft = draft
        self.reader = reader
        self._windows = False

    # --- pool ------------------------------------------------------------------------------------

    def pool(self, body: Json, *, own_id: bool = True) -> None:
        """A pool to create. ``own_id``: with its id."""
        found: Body = {}
        name = member(body, "id")
        if own_id and name:
            found["id"] = self.reader.text(name)
        if note := vm_size_note(str(member(body, "vmSize") or "")):
            self.draft.note(POOL, note)
        found |= self.reader.members(body, POOL, POOL, without=_POOL_SPECIAL)
        nodes = self._nodes(body)
        if nodes is not None:
            found["nodes"] = nodes
        if ids := self._identities(member(body, "identity")):
            found["identity"] = {"ids": ids}
        service = member(body, "cloudServiceConfiguration")
        if isinstance(service, Mapping):
            image, note = cloud_service(member(service, "osFamily"))
            self.draft.note(POOL, note)
            self._windows = True
            found |= image
        else:
            found |= self._machine(member(body, "virtualMachineConfiguration") or {})
        start = member(body, "startTask")
        if isinstance(start, Mapping):
            found["start_task"] = self._node_task(start, "start_task", POOL)
        self.packages(body, found)
        self.draft.pool |= found

    def _identities(self, identity: Any) -> list[str]:
        """The resource ids of managed identities: a list, or a mapping of Resource Manager."""
        assigned = member(identity, "userAssignedIdentities") if identity else None
        if isinstance(assigned, Mapping):
            return [self.reader.text(name) for name in assigned]
        return [self.reader.text(member(each, "resourceId")) for each in assigned or ()]

    def _nodes(self, body: Json) -> Any:
        formula = member(body, "autoScaleFormula")
        if member(body, "enableAutoScale") and formula:
            scale = {"formula": self.reader.text(formula)}
            if interval := member(body, "autoScaleEvaluationInterval"):
                scale["interval"] = self.reader.text(interval)
            return {"autoscale": scale}
        dedicated = self._number(member(body, "targetDedicatedNodes"))
        if dedicated is None:
            dedicated = self._number(member(body, "targetDedicated"))
        spot = self._number(member(body, "targetLowPriorityNodes"))
        if spot in (None, 0):
            return dedicated
        return {"spot": spot} if dedicated in (None, 0) else {"dedicated": dedicated, "spot": spot}

    def _number(self, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        return int(value) if value.isdecimal() else self.reader.text(value)

    def _machine(self, machine: Json) -> Body:
        agent = str(member(machine, "nodeAgentSkuId") or "")
        found, note = image_members(member(machine, "imageReference") or {}, agent)
        if note:
            self.draft.note(POOL, note)
        self._windows = "windows" in json.dumps(found).lower()
        rest = self.reader.members(
            machine,
            "virtual_machine_configuration",
            POOL,
            without=("imageReference", "nodeAgentSkuId"),
        )
        containers = rest.get("container_configuration", {})
        if names := containers.pop("container_image_names", None):
            found["container_images"] = names
            if containers in ({}, {"type": "dockerCompatible"}):
                del rest["container_configuration"]
        if rest:
            own = found.get("virtual_machine_configuration", {})
            found["virtual_machine_configuration"] = own | rest
        return found

    def packages(self, body: Json, pool: Body) -> None:
        """System packages that the Azure CLI extensions install, in the start task."""
        names = [
            self.reader.text(member(package, "id"))
            for package in records(member(body, "packageReferences"))
        ]
        if not names:
            return
        install = f"apt-get update && apt-get install -y {' '.join(names)}"
        start = pool.setdefault("start_task", {})
        if given := start.get("command"):
            install = f"{install} && {given}" if isinstance(given, str) else install
        start |= {"command": install, "elevated": True}

    # --- tasks of nodes --------------------------------------------------------------------------

    def _node_task(self, body: Json, model: str, section: str) -> Body:
        found = self.command(str(member(body, "commandLine") or ""))
        found |= self._common(body, section)
        return found | self.reader.members(body, model, section, without=_NODE_TASK_SPECIAL)

    def command(self, line: str) -> Body:
        """A command line as a member of a task."""
        windows = self._windows or line.lower().startswith(("cmd ", "cmd.exe ", "powershell"))
        return self.reader.expressions.command(line, windows=windows) if line else {}

    def _stage_command(self, line: str) -> Body:
        """A command line of a task; the commands of ``clean: true`` become ``clean: true``
        again."""
        found = self.command(line)
        command = found.get("command")
        own = without_clean(command) if isinstance(command, str) else None
        return found if own is None else {"command": own, "clean": True}

    def _common(self, body: Json, section: str) -> Body:
        found: Body = {}
        if resources := records(member(body, "resourceFiles")):
            found["resources"] = self.reader.resources(resources, section)
        if variables := self._variables(member(body, "environmentSettings"), section):
            found["env"] = variables
        user = member(body, "userIdentity") or {}
        level = str(member(member(user, "autoUser") or {}, "elevationLevel")).lower()
        if member(body, "runElevated") is True or level == "admin":
            found["elevated"] = True
        elif name := member(user, "username"):
            found["user_identity"] = {"username": self.reader.text(name)}
        return found

    def _variables(self, settings: Any, section: str) -> Body:
        found: Body = {}
        for each in records(settings):
            name, value = str(member(each, "name")), str(member(each, "value") or "")
            if name.upper().startswith("AZ_BATCH_"):
                self.draft.note(section, f"Not imported: `{name}`, a variable of the service.")
                continue
            found[name] = self.reader.text(value)
        return found

    # --- job -------------------------------------------------------------------------------------

    def job(self, body: Json) -> None:
        """A job without its tasks, and its pool unless the draft has a pool."""
        found: Body = dict(self.reader.members(body, JOB, JOB, without=_JOB_SPECIAL))
        if variables := self._variables(member(body, "commonEnvironmentSettings"), JOB):
            found["env"] = variables
        limits = member(body, "constraints") or {}
        found |= self._limits(limits, {"maxTaskRetryCount": "max_retries"})
        for name, key in (("jobPreparationTask", "prepare"), ("jobReleaseTask", "release")):
            task = member(body, name)
            if isinstance(task, Mapping):
                found[key] = self._node_task(task, key, JOB)
        found.pop("all_tasks_complete_mode", None)  # batchspec closes its jobs itself.
        self.draft.job |= found
        self._pool_of(member(body, "poolInfo") or {})

    def _limits(self, limits: Json, names: Mapping[str, str]) -> Body:
        found: Body = {}
        names = {"maxWallClockTime": "max_wall_clock_time", **names}
        for name, key in names.items():
            value = member(limits, name)
            if value in (None, 0) or is_unlimited(value) or (name, value) == _DEFAULT_RETENTION:
                continue
            found[key] = self._number(value) if isinstance(value, int) else self.reader.text(value)
        return found

    def _pool_of(self, info: Json) -> None:
        auto = member(info, "autoPoolSpecification")
        if isinstance(auto, Mapping):
            lifetime = str(member(auto, "poolLifetimeOption") or "job").lower()
            pool = {"lifetime": "job_schedule" if "schedule" in lifetime else "job"}
            if member(auto, "keepAlive") is True:
                pool["keep_alive"] = True  # type: ignore[assignment]
            self.draft.pool = pool | self.draft.pool
            self.pool(member(auto, "pool") or {}, own_id=False)
            return
        name = member(info, "poolId")
        if name and not self.draft.pool:
            self.draft.pool["existing"] = self.reader.text(name)

    def schedule(self, body: Json) -> None:
        """A job schedule: its job, with a ``schedule``."""
        self.job(member(body, "jobSpecification") or {})
        given = member(body, "schedule") or {}
        names = {
            "recurrenceInterval": "every",
            "doNotRunUntil": "start",
            "doNotRunAfter": "until",
            "startWindow": "window",
        }
        found = {
            key: self.reader.text(value)
            for name, key in names.items()
            if (value := member(given, name)) is not None
        }
        self.draft.job["schedule"] = found

    # --- tasks -----------------------------------------------------------------------------------

    def task(self, body: Json, section: str) -> Body:
        """The members of a stage for one task, without its id and command line."""
        found = self._common(body, section)
        files = [each for each in records(member(body, "outputFiles")) if not is_log(each)]
        if files:
            found["outputs"] = self.reader.outputs(files, section)
        limits = member(body, "constraints") or {}
        found |= self._limits(
            limits, {"maxTaskRetryCount": "retries", "retentionTime": "retention"}
        )
        several = member(body, "multiInstanceSettings")
        if isinstance(several, Mapping):
            found["instances"] = self._instances(several, section)
        return found | self.reader.members(body, "stage", section, without=_TASK_SPECIAL)

    def _instances(self, settings: Json, section: str) -> Body:
        command = self.command(str(member(settings, "coordinationCommandLine") or "true"))
        found: Body = {
            "count": self._number(member(settings, "numberOfInstances") or 1),
            "command": command.get("command", command.get("command_line")),
        }
        files = self.reader.resources(records(member(settings, "commonResourceFiles")), section)
        if files:
            found["resources"] = [
                {"storage_container_url": read_url(file)} if isinstance(file, str) else file
                for file in files
            ]
        return found

    def tasks(self, bodies: Sequence[Json]) -> None:
        """Stages for all tasks of a job."""
        stages: dict[str, str] = {}
        for group in task_groups(bodies):
            self._stage(group, stages)

    def _stage(self, group: TaskGroup, stages: dict[str, str]) -> None:
        first = group.bodies[0]
        wanted = str(member(first, "id") or "task")
        if len(group.bodies) > 1:
            wanted = without_number(wanted) or "task"
        name = self.draft.stage(wanted, {})
        section = stage_section(name)
        body = self._items(group)
        body |= self._stage_command(self._line(group))
        body |= self.task(first, section)
        shown = _MARKS.sub("", body.pop("display_name", ""))
        if shown and len(group.bodies) == 1:
            body["display_name"] = shown
        self._needs(first, body, stages)
        self.draft.stages[name] = body
        for each in group.bodies:
            stages[str(member(each, "id"))] = name

    def _items(self, group: TaskGroup) -> Body:
        if len(group.bodies) == 1:
            (name,) = group.ids
            return {"id": self.reader.text(name)} if name else {}
        if (pattern := group.pattern) is not None:
            (values,) = group.variables
            before, after = pattern
            return {
                "for_each": number_range(values) or {"list": typed(values)},
                "id": f"{before}{{{{ value }}}}{after}",
            }
        columns: dict[str, Sequence[object]] = {"id": group.ids}
        columns |= {name: typed(values) for values, name in group.variables.items()}
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        return {"for_each": {"list": rows}, "id": "{{ id }}"}

    def _line(self, group: TaskGroup) -> str:
        parts = [group.pieces[0]]
        raw = {
            name: "" if all(map(_PLAIN.fullmatch, values)) else " | raw"
            for values, name in group.variables.items()
        }
        for name, piece in zip(group.names, group.pieces[1:], strict=True):
            variable = "value" if group.pattern is not None else name
            parts += [self.reader.expressions.add(variable + raw[name]), piece]
        return "".join(parts)

    def _needs(self, body: Json, found: Body, stages: Mapping[str, str]) -> None:
        depends = member(body, "dependsOn")
        if not isinstance(depends, Mapping):
            return
        ids = [str(each) for each in member(depends, "taskIds") or ()]
        needed = list(dict.fromkeys(stages[each] for each in ids if each in stages))
        whole = {each for each, stage in stages.items() if stage in needed}
        if ids and whole == set(ids) and not member(depends, "taskIdRanges"):
            found["needs"] = needed
            return
        found |= self.reader.members({"dependsOn": depends}, "stage", "tasks")


def is_unlimited(value: object) -> bool:
    """Whether a duration is the longest duration, which the service reports for no limit."""
    return isinstance(value, str) and value.startswith("P106751")
