"""Pools, jobs and tasks as the REST API has them: JSON of ``az batch``, or of a live account.

Tasks that differ only in a few words of their command become one stage with ``for_each``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from batchspec.importers.draft import JOB, POOL, Body, Draft, stage_section
from batchspec.importers.images import cloud_service, image_members, vm_size_note
from batchspec.importers.rest import RestReader, member, read_url, records
from batchspec.importers.task_groups import (
    TaskGroup,
    is_log,
    number_range,
    task_groups,
    typed,
    without_number,
)
from batchspec.spec import without_clean

Json: TypeAlias = Mapping[str, Any]

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
"""What batchspec adds to the display names of its tasks."""
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
        """Packages of the system that the Azure CLI extensions install, in the start task."""
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
        """A command line of a task; one that batchspec made from ``clean: true`` is that again."""
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
        """A job without its tasks; its pool, unless the draft has one."""
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
        """The members of a stage for one task; its id and command line are the caller's."""
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
    """Whether a duration is the longest one, which the service reports for no limit."""
    return isinstance(value, str) and value.startswith("P106751")
