"""The causes for which a run waits or ends. ``docs/waiting.md`` is generated from this table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from datetime import datetime, timedelta

from batchspec.apply.events import Waiting
from batchspec.exit_codes import Exit
from batchspec.frozen import frozen
from batchspec.plan.failures import OTHER_FIX


@frozen
class CauseKind:
    """A kind of cause.

    ``resource`` is the kind of object: the pool, the job, a task, or the service. ``ends_when`` is
    the condition under which it ends the run early, or ``always``; empty: the run waits until the
    deadline. ``exit`` is the exit code
    of a run that it ends. ``shown_after`` is how long it must last before it is reported, for
    causes that are part of every run. ``terminates_job``: the job is terminated, because none of
    its tasks can run; otherwise the next apply uses it.
    """

    code: str
    resource: str
    description: str
    action: str
    ends_when: str = ""
    exit: Exit = Exit.SERVICE
    shown_after: timedelta = field(default=timedelta())
    terminates_job: bool = False


@frozen
class Cause:
    """Why a run, or a part of it, waits.

    ``subject`` is the object (``pool topn``); ``service`` is the service's own code, if there is
    one; ``ends``: no progress is possible, and the run ends. ``since`` is the service's time.
    """

    kind: CauseKind
    subject: str
    summary: str
    detail: str = ""
    action: str = ""
    ends: bool = False
    service: str = ""
    since: datetime | None = None

    @property
    def code(self) -> str:
        """The code of its kind."""
        return self.kind.code

    @property
    def key(self) -> tuple[str, str]:
        """The code and subject, which identify a cause from one poll to the next."""
        return self.kind.code, self.subject

    def waiting(self) -> Waiting:
        """The event that reports it."""
        return Waiting(
            self.kind.code,
            self.subject,
            self.summary,
            self.since,
            self.action,
            self.detail,
            self.ends,
        )


_KINDS = (
    CauseKind(
        "job-gone",
        "job",
        "The job was deleted by another client.",
        "If another apply of this spec ran at the same time, it may have ended first and cleaned "
        "up. `batchspec plan` shows what is left to do.",
        ends_when="always",
    ),
    CauseKind(
        "job-disabled",
        "job",
        "Another client has disabled the job; its tasks do not start.",
        "Enable it: `az batch job enable --job-id JOB`, or delete it: `batchspec destroy`.",
    ),
    CauseKind(
        "job-unschedulable",
        "job",
        "The service cannot start the job: its auto pool cannot be created, for example because "
        "of a quota or an invalid formula (`schedulingError`).",
        "Fix the reported cause and apply again.",
        ends_when="no task is running",
        terminates_job=True,
    ),
    CauseKind(
        "pool-gone",
        "pool",
        "The pool does not exist, or is being deleted by another client.",
        "If another apply of this spec ran at the same time, it may have ended first and cleaned "
        "up. `batchspec plan` shows what is left to do.",
        ends_when="the pool does not exist, or it is being deleted and no task is running",
    ),
    CauseKind(
        "no-nodes",
        "pool",
        "The last resize failed and the pool has no nodes (quota, allocation, time-out). A resize "
        "error that is older than the current target does not count.",
        OTHER_FIX,
        ends_when="the pool has a fixed size and no task is running (a pool that scales is resized "
        "again at the next evaluation of its formula)",
    ),
    CauseKind(
        "fewer-nodes",
        "pool",
        "The last resize failed partly: the pool has fewer nodes than its target.",
        "The tasks run on the existing nodes. For more nodes, request a higher quota or "
        "another `vm_size`.",
    ),
    CauseKind(
        "autoscale-error",
        "pool",
        "The autoscale formula cannot be evaluated.",
        "Fix the formula (`pool.nodes.autoscale`) and apply again.",
        ends_when="the pool has no nodes, no task is running, and the error is not about missing "
        "samples",
    ),
    CauseKind(
        "pool-empty",
        "pool",
        "The pool has no nodes and does not scale.",
        "Resize it: `az batch pool resize --pool-id POOL --target-dedicated-nodes N`.",
    ),
    CauseKind(
        "scaled-to-zero",
        "pool",
        "The autoscale formula requests no nodes although tasks wait.",
        "The formula is evaluated again after its interval (`az batch pool autoscale evaluate` "
        "shows its values).",
        shown_after=timedelta(minutes=5),
    ),
    CauseKind(
        "nodes-starting",
        "pool",
        "Nodes are being allocated or are starting. No node accepts tasks.",
        "The service usually allocates a node in 2 to 13 minutes. If it takes longer, request "
        "another `vm_size` or region.",
        shown_after=timedelta(minutes=10),
    ),
    CauseKind(
        "start-task-running",
        "pool",
        "No node accepts tasks because the start task still runs on them.",
        "`batchspec logs --start-task NODE` shows its output. Limit a start task that "
        "does not end, for example with `timeout 600 COMMAND`.",
        shown_after=timedelta(minutes=2),
    ),
    CauseKind(
        "start-task-failed",
        "pool",
        "The start task failed on nodes of the pool.",
        "Fix `pool.start_task` and apply again; `batchspec logs --start-task NODE` shows its "
        "output.",
        ends_when="it failed on every node, the pool is not being resized, and no task is running",
    ),
    CauseKind(
        "nodes-unusable",
        "pool",
        "Nodes are unusable: an application package, an image or a mount failed on them.",
        "Fix the reported cause and run `batchspec apply --replace pool`.",
        ends_when="every node is unusable or its start task failed, the pool is not being resized, "
        "and no task is running",
    ),
    CauseKind(
        "spot-preempted",
        "pool",
        "Spot nodes were preempted; the service replaces them when there is capacity.",
        "Wait, or request dedicated nodes (`nodes: {dedicated: N}`).",
    ),
    CauseKind(
        "nodes-offline",
        "pool",
        "Another client has disabled scheduling on the nodes.",
        "Enable scheduling: `az batch node scheduling enable --pool-id POOL --node-id NODE`.",
    ),
    CauseKind(
        "nodes-lost",
        "pool",
        "The service has lost contact with the nodes.",
        "The service waits for the nodes. If a node stays `unknown`, restart it: "
        "`az batch node reboot --pool-id POOL --node-id NODE`.",
    ),
    CauseKind(
        "pool-busy",
        "pool",
        "Every node of the pool runs tasks of other jobs.",
        "Wait, add nodes, or raise the `priority` of the job.",
        shown_after=timedelta(minutes=1),
    ),
    CauseKind(
        "preparation-failed",
        "job",
        "The preparation task of the job failed on nodes; its tasks do not start there.",
        "Fix `job.prepare` and apply again, or run it again with `batchspec retry`.",
        ends_when="it failed on every node that accepts tasks, the pool is not being resized, and "
        "no task is running",
        terminates_job=True,
    ),
    CauseKind(
        "dependency-failed",
        "job",
        "The remaining tasks wait for tasks that failed.",
        "Apply again: it reruns the failed tasks, then the rest.",
        ends_when="no other task can run",
        exit=Exit.TASKS_FAILED,
        terminates_job=True,
    ),
    CauseKind(
        "dependency-missing",
        "job",
        "The remaining tasks wait for a task that does not exist.",
        "Correct the id in `depends_on`, or add the task, and apply again.",
        ends_when="no other task can run, and all tasks are submitted",
        terminates_job=True,
    ),
    CauseKind(
        "dependency-circle",
        "job",
        "The remaining tasks wait for each other.",
        "Correct `depends_on` or `needs` and apply again.",
        ends_when="no other task can run, and all tasks are submitted",
        terminates_job=True,
    ),
    CauseKind(
        "too-many-slots",
        "job",
        "The remaining tasks need more slots than a node of the pool has.",
        "Lower `slots` of the task, or raise `task_slots_per_node` of the pool.",
        ends_when="no other task can run, and all tasks are submitted",
        terminates_job=True,
    ),
    CauseKind(
        "not-started",
        "job",
        "Tasks wait although nodes are idle, and the service gives no reason.",
        "Check `max_parallel_tasks` of the job, and whether a task needs more nodes than the "
        "pool has.",
        shown_after=timedelta(minutes=2),
    ),
    CauseKind(
        "task-slow",
        "task",
        "A task has run ten times as long as the longest task that has succeeded.",
        "`batchspec logs TASK` shows its output; to limit its duration, set `max_wall_clock_time` "
        "on the stage.",
    ),
    CauseKind(
        "service-busy",
        "service",
        "The service is busy (429 or 503). batchspec retries its requests.",
        "Wait. The run continues when the service responds.",
    ),
    CauseKind(
        "service-failing",
        "service",
        "The service returns errors (500, 502, 504). batchspec retries its requests.",
        "Wait. The run continues when the service responds.",
    ),
    CauseKind(
        "service-silent",
        "service",
        "The service does not respond. batchspec retries its requests.",
        "Check the network. The run continues when the service responds.",
    ),
    CauseKind(
        "sign-in-failing",
        "service",
        "The sign-in with Microsoft Entra ID worked before and now fails. batchspec retries "
        "it for five minutes.",
        "Run `az login` in another terminal, or check the network. The run continues when the "
        "sign-in works.",
    ),
)

CAUSES: Mapping[str, CauseKind] = {kind.code: kind for kind in _KINDS}
"""The kinds of causes by code."""
