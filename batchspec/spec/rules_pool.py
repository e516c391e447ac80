"""Rules of pool and job: image, nodes, slots, lifetime, node tasks, schedule, identities."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta

from batchspec.diagnostics import Diagnostic, Severity
from batchspec.spec.convert import duration, moment
from batchspec.spec.formulas import Scenario
from batchspec.spec.rules_tasks import command_rules, empty_command, in_container
from batchspec.spec.short_forms import number, pair
from batchspec.spec.yaml_tree import Node

_TARGETS = ("target_dedicated_nodes", "target_low_priority_nodes")
_LONGEST_RUN = timedelta(days=36_500)
"""The maximum time limit of a run; the end of a longer run could be after the last date of the
calendar."""
_AUTO = ("enable_auto_scale", "auto_scale_formula", "auto_scale_evaluation_interval")
_LONGEST_FORMULA = 8 * 1024


def pool_rules(root: Node) -> Iterator[Diagnostic]:
    """Properties of the pool that the service refuses, and combinations without effect."""
    pool = root.get("pool")
    if pool is None or pool.get("existing") is not None:
        yield from _kept(root, pool)
        return
    if pool.wrong:
        return  # the error is already reported
    yield from _image(pool)
    yield from _nodes(pool)
    yield from _scale(pool)
    yield from _idle_time(pool)
    yield from _lifetime(root, pool)


def _kept(root: Node, pool: Node | None) -> Iterator[Diagnostic]:
    cleanup = root.get("cleanup", "pool")
    if pool is not None and cleanup is not None and cleanup.value != "never":
        yield Diagnostic(
            "no-effect",
            "`cleanup.pool` has no effect: an `existing` pool is never deleted",
            where=cleanup.where,
            fix="Remove this line.",
            severity=Severity.WARNING,
        )


def _image(pool: Node) -> Iterator[Diagnostic]:
    machine = pool.get("virtual_machine_configuration")
    reference = machine.get("image_reference") if machine else None
    agent = machine.get("node_agent_sku_id") if machine else None
    if pool.get("image") is not None:
        return
    if reference is None:
        yield Diagnostic(
            "missing-key",
            "the pool has no image",
            where=pool.name,
            fix="Write `image: ubuntu-24.04`, or `image_reference` and `node_agent_sku_id` in "
            "`virtual_machine_configuration`.",
        )
    elif agent is None:
        yield Diagnostic(
            "missing-key",
            "`node_agent_sku_id` is missing: `image_reference` requires it",
            where=reference.name,
            fix="For Ubuntu 24.04 write `node_agent_sku_id: batch.node.ubuntu 24.04`.",
        )


def _nodes(pool: Node) -> Iterator[Diagnostic]:
    if pool.get("nodes") is not None:
        return
    auto = pool.get("enable_auto_scale")
    targets = [node for key in _TARGETS if (node := pool.get(key)) is not None]
    formula = pool.get("auto_scale_formula")
    if auto is not None and auto.value is True:
        for node in targets:
            yield Diagnostic(
                "either-or",
                "a pool with `enable_auto_scale` cannot have a target number of nodes",
                where=node.name,
                fix="Remove this line or `enable_auto_scale`.",
            )
        if formula is None:
            yield Diagnostic(
                "missing-key",
                "`auto_scale_formula` is missing: `enable_auto_scale` requires it",
                where=auto.name,
            )
        return
    for key in _AUTO[1:]:
        if (node := pool.get(key)) is not None:
            yield Diagnostic(
                "missing-key",
                f"`{key}` requires `enable_auto_scale: true`",
                where=node.name,
            )
    if not targets and formula is None:
        yield Diagnostic(
            "missing-key", "the pool has no `nodes`", where=pool.name, fix="Write `nodes: 1`."
        )


def _scale(pool: Node) -> Iterator[Diagnostic]:
    scale = pool.get("nodes", "scale")
    if scale is not None and not any(n.template or n.wrong for n in scale.members.values()):
        least, most = number(scale, "min", 0), number(scale, "max", 0)
        if scale.get("max") is not None and most < least:
            yield Diagnostic(
                "out-of-range",
                f"`max` must be at least `min` ({least})",
                where=scale.members["max"].where,
            )
        if not most and not number(scale, "spot_max", 0) and not least:
            yield Diagnostic(
                "missing-key",
                "`scale` has neither `max` nor `spot_max`, so the pool would never have a node",
                where=scale.name,
                fix="Write the maximum, for example `max: 10`.",
            )
        yield from _scenario(scale)
    for path in (("nodes", "autoscale", "formula"), ("auto_scale_formula",)):
        node = pool.get(*path)
        if node is not None and len((node.text or "").encode()) > _LONGEST_FORMULA:
            yield Diagnostic(
                "too-large",
                "the autoscale formula is longer than 8 KiB, the limit of the service",
                where=node.name,
            )


def _scenario(scale: Node) -> Iterator[Diagnostic]:
    """Members of ``scale`` without effect in the scenario, and empty working times."""
    given = scale.get("scenario")
    scenario = Scenario(given.text or "") if given is not None else Scenario.PENDING_TASKS
    unused = [] if scenario.by_tasks else ["idle", "prefer"]
    unused += [] if scenario.has_hours else ["hours"]
    unused += ["days"] if scenario.by_tasks else []
    for key in unused:
        if scale.get(key) is not None:
            yield Diagnostic(
                "no-effect",
                f"`{key}` has no effect with the scenario `{scenario}`",
                where=scale.members[key].name,
                fix="Remove it, or use another scenario.",
                severity=Severity.WARNING,
            )
    for key, shortest in (("hours", 1), ("days", 0)):
        first, last = pair(scale, key, (0, shortest))
        if last - first < shortest and key not in unused:
            yield Diagnostic(
                "out-of-range", f"`{key}` ends before it begins", where=scale.members[key].where
            )
    prefer = scale.get("prefer")
    if prefer is not None and prefer.value == "spot" and scenario.by_tasks:
        for key in ("max", "spot_max"):
            if not number(scale, key, 0):
                yield Diagnostic(
                    "missing-key",
                    f"`prefer: spot` requires `{key}`: Spot nodes first, then dedicated nodes",
                    where=prefer.name,
                )


def _idle_time(pool: Node) -> Iterator[Diagnostic]:
    idle = pool.get("nodes", "scale", "idle")
    length = duration(idle.text) if idle is not None and idle.text else None
    if idle is not None and length is not None and length < timedelta(minutes=5):
        yield Diagnostic(
            "out-of-range",
            f"`idle` must be at least 5 minutes, not {idle.raw}",
            where=idle.where,
        )


def _lifetime(root: Node, pool: Node) -> Iterator[Diagnostic]:
    lifetime, keep = pool.get("lifetime"), pool.get("keep_alive")
    if lifetime is None and keep is not None:
        yield Diagnostic("missing-key", "`keep_alive` requires `lifetime`", where=keep.name)
    if lifetime is not None and lifetime.value == "job_schedule":
        job = root.get("job")
        if job is not None and job.get("schedule") is None:
            yield Diagnostic(
                "missing-key",
                "`lifetime: job_schedule` requires a job with a `schedule`",
                where=lifetime.where,
                fix="Add a `schedule` to the job, or write `lifetime: job`.",
            )
    prefix = pool.get("id")
    if lifetime is not None and prefix is not None and len(prefix.text or "") > 20:
        yield Diagnostic(
            "long-id",
            "the `id` of an auto pool is the prefix of the id that the service generates, and "
            "cannot be longer than 20 characters",
            where=prefix.where,
        )


_TASK_ONLY = (
    "affinity_info",
    "depends_on",
    "exit_codes",
    "exit_conditions",
    "instances",
    "multi_instance_settings",
)
"""Properties of a task that a job manager task (``BatchJobManagerTask``) does not have."""


def job_rules(root: Node) -> Iterator[Diagnostic]:
    """Properties of the job that the service refuses, and the required time limit."""
    job = root.get("job")
    if job is None:
        return
    if not job.wrong:
        yield from _limit(job)
    for task in _task_nodes(root):
        yield from command_rules(task)
    for key in ("job_manager_task", "job_preparation_task", "job_release_task"):
        special, line = root.get("job", key), root.get("job", key, "command_line")
        if special is not None and line is not None and not in_container(special):
            yield from empty_command(line, "command_line")
    yield from _schedule_rules(root)


def _task_nodes(root: Node) -> Iterator[Node]:
    """The start task and the short forms of the preparation and release tasks."""
    for path in (("pool", "start_task"), ("job", "prepare"), ("job", "release")):
        if (node := root.get(*path)) is not None:
            yield node


def _limit(job: Node) -> Iterator[Diagnostic]:
    limit = job.get("max_wall_clock_time") or job.get("constraints", "max_wall_clock_time")
    if limit is None:
        yield Diagnostic(
            "missing-key",
            "`max_wall_clock_time` is missing in the job",
            detail="Every run needs a time limit, so that it cannot cause costs indefinitely.",
            where=job.name,
            fix="Write a limit, for example `max_wall_clock_time: 2h`.",
        )
    elif (length := duration(limit.text or "")) is not None and length > _LONGEST_RUN:
        yield Diagnostic(
            "out-of-range",
            f"`max_wall_clock_time` must be at most {_LONGEST_RUN.days} days, not {limit.raw}",
            detail="Every run needs a time limit; the longest duration of the service means none.",
            where=limit.where,
            fix="Write a limit, for example `max_wall_clock_time: 2h`.",
        )


def _schedule_rules(root: Node) -> Iterator[Diagnostic]:
    """Properties of a schedule that the service refuses, and the job manager task of its jobs."""
    schedule, manager = root.get("job", "schedule"), root.get("job", "job_manager_task")
    tasks = root.get("tasks")
    if schedule is None:
        return
    yield from _schedule_times(schedule)
    yield from _schedule_cleanup(root.get("cleanup"))
    if manager is None:
        yield from _one_task(tasks)
    elif tasks is not None:
        yield Diagnostic(
            "either-or",
            "`tasks` cannot be combined with a `job_manager_task` in a job schedule: the service "
            "creates the jobs, and only the job manager task submits tasks to them",
            where=tasks.name,
            fix="Remove `tasks`, and submit them from the job manager task.",
        )


def _schedule_times(schedule: Node) -> Iterator[Diagnostic]:
    start = schedule.get("start") or schedule.get("do_not_run_until")
    until = schedule.get("until") or schedule.get("do_not_run_after")
    if start is None or until is None:
        return
    first, last = moment(start.text or ""), moment(until.text or "")
    if first and last and last <= first:
        yield Diagnostic(
            "out-of-range", "the end of the schedule is not after its start", where=until.where
        )


def _schedule_cleanup(cleanup: Node | None) -> Iterator[Diagnostic]:
    if cleanup is None or all(when.value == "never" for when in cleanup.members.values()):
        return
    yield Diagnostic(
        "no-cleanup",
        "`cleanup` has no effect with a schedule, which keeps creating jobs",
        where=cleanup.name,
        fix="Remove `cleanup`; to delete everything, run `batchspec destroy`.",
        severity=Severity.WARNING,
    )


def _one_task(tasks: Node | None) -> Iterator[Diagnostic]:
    stages = tuple(tasks.members.values()) if tasks else ()
    if len(stages) > 1:
        yield Diagnostic(
            "one-task",
            "a job schedule can have only one stage, and this is a second one",
            detail="The service creates the jobs with a single task, the job manager task.",
            where=stages[1].name,
            fix="Do everything in one command, submit more tasks from a `job_manager_task`, or "
            "remove `schedule` and apply the spec from cron or CI.",
        )
    for stage in stages[:1]:
        for key in _TASK_ONLY:
            if (node := stage.get(key)) is not None:
                yield Diagnostic(
                    "not-of-manager",
                    f"`{key}` is not supported for the task of a job schedule",
                    detail="It is created as a job manager task, which lacks this property.",
                    where=node.name,
                    fix="Remove it, or submit a task that has it from a `job_manager_task`.",
                )


_RESOURCE_ID = re.compile(
    r"/subscriptions/[^/\s]+/resourceGroups/[^/\s]+/providers/Microsoft\.ManagedIdentity"
    r"/userAssignedIdentities/[^/\s]+",
    re.IGNORECASE,
)
"""The resource id for comparison: Azure Resource Manager ignores case."""
_SHOW_ID = "az identity show --resource-group GROUP --name NAME --query id --output tsv"


def identity_rules(root: Node) -> Iterator[Diagnostic]:
    """Invalid ids of identities, and uses of identities that the nodes do not have."""
    pool, storage = root.get("pool"), root.get("storage", "identity")
    attached = root.sequence("pool", "identity", "ids")
    for node in (*([storage] if storage is not None else []), *attached):
        yield from _resource_id(node)
    if pool is None or pool.wrong or pool.get("existing") is not None:
        return  # the account knows the identities of an existing pool
    used = [storage] if storage is not None else []
    for part in ("pool", "job", "tasks"):
        if (section := root.get(part)) is not None:
            used += _references(section)
    if pool.get("lifetime") is not None:
        yield from _of_auto_pool(pool, used)
    elif pool.get("identity") is None:
        for node in used:
            yield _no_identity(node, "the nodes of this pool have no managed identity", _ADD)
    else:
        yield from _not_attached(used, attached)


_ADD = "Add `identity: {ids: [ID]}` to the pool"


def _of_auto_pool(pool: Node, used: list[Node]) -> Iterator[Diagnostic]:
    """Identities of an auto pool: no API attaches them (azure-sdk-for-net#54583)."""
    identity = pool.get("identity")
    for node in (*([identity] if identity is not None else []), *used):
        yield _no_identity(
            node,
            "the nodes of an auto pool cannot have a managed identity",
            "Remove `lifetime`, and write `cleanup: {pool: always}` to delete the pool after the"
            " run",
        )


def _no_identity(node: Node, summary: str, fix: str) -> Diagnostic:
    return Diagnostic("no-identity", summary, where=node.name, fix=f"{fix}; or remove this key.")


def _not_attached(used: list[Node], attached: tuple[Node, ...]) -> Iterator[Diagnostic]:
    """Identities that tasks use and the pool does not have. Resource ids are not case-sensitive."""
    known = {str(node.value).lower() for node in attached}
    if any(node.wrong for node in attached):
        return
    for node in used:
        named = node.get("resource_id") or node
        if named.text and not named.template and named.text.lower() not in known:
            yield Diagnostic(
                "no-identity",
                "the pool does not have this managed identity",
                where=named.where,
                fix="Add it to `pool.identity.ids`.",
            )


def _references(node: Node) -> Iterator[Node]:
    for key, member in node.members.items():
        if key == "identity_reference":
            yield member
        yield from _references(member)
    for item in node.items:
        yield from _references(item)


def _resource_id(node: Node) -> Iterator[Diagnostic]:
    if node.wrong or node.template or _RESOURCE_ID.fullmatch(node.text or ""):
        return
    yield Diagnostic(
        "bad-format",
        "this is not the resource id of a user-assigned managed identity",
        "It has the form /subscriptions/SUBSCRIPTION/resourceGroups/GROUP/providers/"
        "Microsoft.ManagedIdentity/userAssignedIdentities/NAME.",
        node.where,
        f"Use the output of `{_SHOW_ID}`.",
    )
