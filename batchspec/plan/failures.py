"""Failures of tasks, pools and nodes: causes, what to do, the record of nodes, what to retry.

The cause of a task's failure is one word, to group and retry by. The words are part of the command
line: ``exit-7``, ``timeout``, ``upload``, ``preempted``, ``start-task``, ``preparation-task``,
``unusable``, ``job-ended``; otherwise the service's failure code (``command-program-not-found``).

The service stores the output of tasks, but not that of start and preparation tasks, which is
deleted with the node. The client stores it in the container for logs, as
``_nodes/POOL/NODE/startup/stderr.txt`` with a ``failure.json`` in the folder of the node. Of nodes
that failed alike, the output of one is stored; its record counts the others.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, field
from functools import cache
from typing import Any

from batchspec.frozen import frozen
from batchspec.json_object import json_object
from batchspec.plan.metadata import why_stopped
from batchspec.plan.observed import JobFacts, TaskFacts
from batchspec.spec import Spec

START_TASK = "start-task"
"""The cause of nodes that accept no tasks; tasks do not fail because of it, they wait."""
START_TASK_UNFINISHED = "start-task-running"
"""The cause of nodes whose start task still ran when the time limit of the job passed."""
UNUSABLE = "unusable"
"""The cause of nodes that the service cannot use, regardless of their start tasks."""
PREPARATION_TASK = "preparation-task"
"""The cause of nodes that accept no tasks of a job, since its preparation task failed on them."""
NODE_CAUSES = frozenset({START_TASK, START_TASK_UNFINISHED, UNUSABLE, PREPARATION_TASK})
"""The causes of nodes; all others are of tasks."""
BLOCKED = "DependenciesFailed"
"""The reason with which ``apply`` ends a job in which no task can start."""
UNPREPARED = "PreparationFailed"
"""The reason with which ``apply`` ends a job whose preparation task failed on every node."""
_TIMED_OUT = -1073741510
"""0xC000013A, the documented exit code of a task that ran into its wall-clock limit."""
AT_LIMIT = frozenset({"MaxWallClockTimeExpiry", "TimeLimit"})
"""The reasons of a job that ended at its time limit; ``apply`` sets the second reason."""


def cause_of(task: TaskFacts, job: JobFacts | None = None) -> str:
    """The cause of a failed task of ``job``."""
    code = task.code or ""
    if code.startswith("FileUpload"):
        return "upload"
    if code == "TaskEnded" or task.exit_code == _TIMED_OUT:
        return _ended(task, job)
    if "preempt" in code.lower():
        return "preempted"
    if code in {"", "FailureExitCode"}:
        return "unknown" if task.exit_code is None else f"exit-{task.exit_code}"
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", code).lower()


def _ended(task: TaskFacts, job: JobFacts | None) -> str:
    """The cause of a task that was ended: at its time limit, with its job, or by a user.

    Only the service's message distinguishes these; on Linux the exit code does not.
    """
    if task.exit_code == _TIMED_OUT or "wall clock" in (task.message or "").lower():
        return "timeout"
    if job is not None and why_stopped(job.metadata, task.id):
        return "ended"
    reason = job.terminate_reason if job is not None else None
    if reason in AT_LIMIT:
        return "timeout"
    return "ended" if reason in {None, "AllTasksComplete"} else "job-ended"


_LONGEST_LINE = 200
"""Characters of a line that are compared and shown."""
_SHORTEST_NAME = 4
"""Characters; shorter words are in too many others to be masked as names."""
_NOISE = r"""\s+at\s            # a frame of a Java or JavaScript stack trace
    | \s+File\s"           # a frame of a Python traceback
    | \s*\.\.\.\s\d+\smore # Java, too
    | \s*\|?\s*[~^]+       # a mark under a column of the line before
    | \s*Traceback\s
    | \s*note:\s           # a remark of Rust or GCC
    | \s*exit\sstatus\s\d+$
    """
"""Lines of a stack trace and closing remarks, which do not describe the error."""
_TIME = r"\b\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d)?(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?)?"
_FIRST_MASKS, _OTHER_MASKS = slice(6), slice(6, None)


@cache
def _masks() -> tuple[tuple[re.Pattern[str], str], ...]:
    """The patterns to mask, in order; compiled with the first failure."""
    return (
        (re.compile(r"\b[a-z][a-z0-9+.-]*://[^\s'\"<>)\]]+", re.IGNORECASE), "<url>"),
        (re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", re.IGNORECASE), "<id>"),
        (re.compile(_TIME), "<time>"),
        (re.compile(r"\b\d\d?:\d\d(?::\d\d(?:[.,]\d+)?)\b"), "<time>"),
        (re.compile(r"(?<![\w])[A-Za-z]:\\[^\s'\"<>|:,;)\]]+"), "<path>"),
        (re.compile(r"(?<![\w<])(?:~|\.{1,2})?/[^\s'\"<>|:,;)\]]+"), "<path>"),
        (re.compile(r"(?<![\w<./-])[\w.-]+(?:/[\w.-]+)+"), "<path>"),
        (re.compile(r"\btvm[a-z]*-[\w-]+"), "<node>"),
        (re.compile(r"\b0x[0-9a-f]+\b", re.IGNORECASE), "<n>"),
        (re.compile(r"\b(?=[a-f]*\d)(?=\d*[a-f])[0-9a-f]{7,}\b", re.IGNORECASE), "<id>"),
        (re.compile(r"(?<![A-Za-z<])[-+]?\d+(?:[.,]\d+)*(?:e[-+]?\d+)?", re.IGNORECASE), "<n>"),
        (re.compile(r"\d+"), "<n>"),
    )


def last_line(text: str) -> str:
    """The last line that describes an error; empty if there is none.

    Stack frames, carets and closing remarks are skipped. If there is nothing else, it is the last
    line that is not blank.
    """
    lines = [line for line in text.splitlines() if line.strip()]
    for line in reversed(lines):
        has_word = any(character.isalpha() for character in line)
        if has_word and not re.match(_NOISE, line, re.VERBOSE):
            return line.strip()
    return lines[-1].strip() if lines else ""


def signature(text: str, *names: str) -> str:
    """The last significant line of ``text`` without numbers, paths, ids, and times.

    ``names`` are words that vary as well, such as the ids of a task and its node, and
    :func:`distinctive_parts`.
    """
    line = last_line(text)[: 2 * _LONGEST_LINE]
    for pattern, mask in _masks()[_FIRST_MASKS]:
        line = pattern.sub(mask, line)
    for name in sorted(set(names), key=len, reverse=True):
        if len(name) >= _SHORTEST_NAME:
            line = re.sub(rf"(?<![\w<]){re.escape(name)}(?![\w>])", "<id>", line)
    for pattern, mask in _masks()[_OTHER_MASKS]:
        line = pattern.sub(mask, line)
    line = re.sub(r"(<\w+>)(?:[-_.]?\1)+", r"\1", line)
    return line[:_LONGEST_LINE].strip()


def distinctive_parts(ids: Iterable[str]) -> Mapping[str, tuple[str, ...]]:
    """For each id its parts between ``-`` and ``_`` that no other of these ids has.

    An id contains the name of the task's item (``count-lighthouse-3f2a``), which the program may
    print as well; parts that several ids have in common are ordinary words.
    """
    parts = {name: [part for part in re.split(r"[-_]", name) if part] for name in ids}
    if len(parts) < 2:
        return dict.fromkeys(parts, ())
    counts = Counter(part for found in parts.values() for part in set(found))
    return {
        name: tuple(part for part in found if counts[part] == 1) for name, found in parts.items()
    }


_SPOT_QUOTA = (
    "Request fewer or smaller Spot nodes, or dedicated nodes, delete unused pools (`batchspec "
    "list`), or request a higher quota of Spot cores; then apply again."
)

RESIZE_FIX: Mapping[str, str] = {
    "AccountCoreQuotaReached": "Request fewer nodes or a smaller `vm_size`, delete unused pools "
    "(`batchspec list`), or request a higher quota of dedicated cores; then apply again.",
    "AccountLowPriorityCoreQuotaReached": _SPOT_QUOTA,
    "AccountSpotCoreQuotaReached": _SPOT_QUOTA,
    "AccountVMSeriesCoreQuotaReached": "Request fewer nodes or a `vm_size` of another family, "
    "delete unused pools (`batchspec list`), or request a higher quota of this VM family; then "
    "apply again.",
    "AllocationFailed": "Fix the reported cause, or use another `vm_size` or image, and apply "
    "again. For a Windows image: `--target azure`.",
    "AllocationTimedout": "No VMs of this size were available within the pool's `resize_timeout`. "
    "Apply again later, or request another `vm_size`, fewer nodes, or dedicated instead of Spot "
    "nodes.",
    "CommunicationEnabledPoolReachedMaxVMCount": "Request fewer nodes, or remove "
    "`enable_inter_node_communication`; then apply again.",
    "OverconstrainedAllocationRequestError": "No VMs of this size meet all settings of the pool. "
    "Request another `vm_size`, fewer nodes, or another region, and apply again.",
    "RemoveNodesFailed": "Apply again in a few minutes.",
    "ResizeStopped": "Another client stopped the resize. Apply again.",
    "UnsupportedVMSize": "Request another `vm_size` (`batchspec doctor` shows the VM sizes of the "
    "account), and apply again.",
}
"""The code of a resize error → the fix.

The codes are those of the .NET SDK (``PoolResizeErrorCodes``) and of recordings. After the change
from low-priority to Spot nodes, the quota of their cores has two codes.
"""

OTHER_FIX = "Request fewer or other nodes, and apply again."
"""The fix of a resize error with another code."""

_BY_CODE = {code.lower(): fix for code, fix in RESIZE_FIX.items()}

_BATCH_APP = "`Microsoft Azure Batch` (application ddbf3205-c6bd-46ae-8127-60eb93363864)"
_BY_REASON = {
    "internal error": "The service failed. Apply again in a few minutes.",
    "subnet has delegation": "Remove the delegation of the subnet, or use another subnet, and "
    "apply again.",
    "does not have the desired permissions": f"Assign the role 'Azure Batch Service Orchestration "
    f"Role' or 'Contributor' on the subscription to {_BATCH_APP}, and apply again.",
    "not authorized to access the key vault": f"Assign the role 'Key Vault Secrets Officer' on the "
    f"key vault of the Batch account to {_BATCH_APP}, and apply again.",
}
"""Part of the reason of ``AllocationFailed`` → the fix (troubleshooting guide, "Azure batch pool
resizing failure")."""


def resize_fix(code: str, message: str = "", other: str = OTHER_FIX) -> str:
    """The fix of a resize error with this code and message; ``other`` for an unknown code."""
    lower = message.lower()
    by_reason = (fix for reason, fix in _BY_REASON.items() if reason in lower)
    # Clients of the service write AllocationTimedout and AllocationTimedOut.
    by_code = _BY_CODE.get(code.lower(), other)
    return next(by_reason, by_code) if code == "AllocationFailed" else by_code


NODE_LOGS_FOLDER = "_nodes"
FAILURE_RECORD = "failure.json"
STARTUP_FOLDER = "startup"
"""The folder of the start task's output on a node."""
PREPARATION_FOLDER = "preparation"
"""The folder here of the preparation task's output; on a node its path has the ids of the job."""
OUTPUT_FILES = ("stderr.txt", "stdout.txt")
NAMED_NODES = 10
"""The number of nodes that a record names; it counts the others."""


@frozen
class NodeFailure:
    """Nodes of a pool on which a task of the node failed in the same way.

    ``node`` is the node whose output is stored, in ``folder`` of its folder; ``nodes`` are the
    first of all ``count``. ``exit_code`` and ``message`` are the service's about that node.
    """

    pool: str
    node: str
    folder: str
    state: str
    exit_code: int | None = None
    message: str = ""
    nodes: tuple[str, ...] = ()
    count: int = 1

    @property
    def path(self) -> str:
        """The blob folder of its output and record, with a slash at the end."""
        return f"{pool_folder(self.pool)}{self.node}/{self.folder}/"


def pool_folder(pool: str) -> str:
    """The blob folder of a pool, with a slash at the end."""
    return f"{NODE_LOGS_FOLDER}/{pool}/"


def node_logs_container(spec: Spec) -> str | None:
    """The container in which the output of nodes is stored; ``None`` if the spec keeps no logs."""
    kept = (spec.container_id(stage.logs) for stage in spec.stages if stage.logs)
    return next(kept, None)


def node_failure_text(failure: NodeFailure) -> str:
    """A record as JSON."""
    return json.dumps({"version": 1, **asdict(failure)}, indent=1) + "\n"


def read_node_failure(text: str) -> NodeFailure | None:
    """The failure that a record is about; ``None`` if this version cannot read it."""
    row = json_object(text)
    return _failure(row) if row.get("version") == 1 else None


def _failure(row: Mapping[str, Any]) -> NodeFailure | None:
    pool, node, folder, state = (row.get(name) for name in ("pool", "node", "folder", "state"))
    if not (pool and node and folder and state):
        return None
    nodes, code, count = row.get("nodes"), row.get("exit_code"), row.get("count")
    return NodeFailure(
        str(pool),
        str(node),
        str(folder),
        str(state),
        code if isinstance(code, int) else None,
        str(row.get("message", "")),
        tuple(map(str, nodes)) if isinstance(nodes, list) else (str(node),),
        count if isinstance(count, int) else 1,
    )


@frozen
class Selection:
    """Failed tasks: of ``causes`` and with ``ids`` (lower case), each empty for all.

    ``jobs`` are the facts of the jobs of the run by id; a task can have ended for the same reason
    as its job. ``alike`` are the ids (lower case) of tasks that count as being of one of the
    ``causes``: those of a part of a cause. ``nodes`` are those whose start task failed,
    ``unprepared`` those on which the preparation task of the open job failed: they restart.
    """

    causes: frozenset[str] = frozenset()
    ids: frozenset[str] = frozenset()
    jobs: Mapping[str, JobFacts] = field(default_factory=dict)
    alike: frozenset[str] = frozenset()
    nodes: tuple[str, ...] = ()
    unprepared: tuple[str, ...] = ()

    @property
    def all(self) -> bool:
        """Whether every failed task is to run again."""
        return not self.causes and not self.ids

    def picks(self, task: TaskFacts | None, job: str | None) -> bool:
        """Whether a task of that job is to run again."""
        if task is None:
            return False
        if task.succeeded is None:
            return self._picks_blocked(job)
        if task.succeeded:
            return False
        if self.ids and task.id.lower() not in self.ids:
            return False
        if not self.causes or task.id.lower() in self.alike:
            return True
        return cause_of(task, self.jobs.get(job or "")) in self.causes

    def _picks_blocked(self, job: str | None) -> bool:
        """Whether tasks that could not start are to run, and their job ended before they could."""
        facts = self.jobs.get(job or "")
        reason = facts.terminate_reason if facts is not None else None
        if reason == UNPREPARED and PREPARATION_TASK in self.causes:
            return True
        if reason in AT_LIMIT and START_TASK_UNFINISHED in self.causes:
            return True
        return self.all and reason in {UNPREPARED, BLOCKED}
