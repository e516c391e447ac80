"""A rule of the planner: a check with its code, severity, title, reason and fix; and its input.

The input is a :class:`RuleContext`; :func:`task_bodies` are the bodies of all tasks in it, with the
positions of their properties.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import field
from typing import TYPE_CHECKING, Any, Generic, ParamSpec

from batchspec.diagnostics import Diagnostic, Place, Severity
from batchspec.frozen import frozen
from batchspec.plan.observed import Observed
from batchspec.spec import PoolKind, Record, Spec, Stage, scale_bounds, scale_range

if TYPE_CHECKING:
    from batchspec.plan.capacity import AccountResource


@frozen
class RuleContext:
    """The input of rules. ``body`` is the body of Create Pool, empty for an existing pool."""

    spec: Spec
    observed: Observed
    body: Record

    @property
    def existing(self) -> bool:
        """Whether the pool is marked ``existing``."""
        return self.spec.pool.kind is PoolKind.EXISTING

    @property
    def pool(self) -> Record:
        """The properties of the pool that tasks run on: of the spec, or of the existing pool."""
        if not self.existing:
            return self.body
        return self.observed.pool.properties if self.observed.pool is not None else Record()

    @property
    def known(self) -> bool:
        """Whether the properties of the pool are known."""
        return not self.existing or self.observed.pool is not None

    @property
    def account(self) -> AccountResource | None:
        """The Batch account as Azure Resource Manager describes it, if it is known."""
        capacity = self.observed.capacity
        return capacity.resource if capacity is not None else None

    @property
    def machine(self) -> Record:
        """The VirtualMachineConfiguration of the pool."""
        return self.pool.record("virtualMachineConfiguration")

    @property
    def slots(self) -> int:
        """The number of task slots of a node."""
        return self.pool.number("taskSlotsPerNode", 1)

    @property
    def scales(self) -> bool:
        """Whether the pool follows a formula."""
        return self.pool.get("enableAutoScale") is True

    @property
    def targets(self) -> tuple[int, int]:
        """The target numbers of dedicated and Spot nodes of a pool of fixed size."""
        if self.existing and (facts := self.observed.pool) is not None:
            return facts.target_dedicated, facts.target_spot
        return self.body.number("targetDedicatedNodes"), self.body.number("targetLowPriorityNodes")

    @property
    def spot(self) -> bool:
        """Whether the pool has Spot nodes, or a formula that sets their number."""
        if self.scales:
            return "$TargetLowPriorityNodes" in (self.pool.string("autoScaleFormula") or "")
        return self.targets[1] > 0

    @property
    def without_tasks(self) -> int:
        """The number of nodes while there are no tasks; 0 with a custom formula.

        A pool that scales by the time of day may have its largest number then.
        """
        if not self.scales:
            return sum(self.targets)
        formula = self.pool.string("autoScaleFormula") or ""
        least, most = scale_bounds(formula) or (0, 0)
        found = scale_range(formula)
        return most if found is not None and found.timed else least

    @property
    def most(self) -> int | None:
        """The largest number of nodes; ``None`` if it depends on a custom formula."""
        if not self.scales:
            return sum(self.targets)
        bounds = scale_bounds(self.pool.string("autoScaleFormula") or "")
        return bounds[1] if bounds is not None else None

    def at_pool(self, *keys: str) -> Place:
        """The position of the first of these keys of the pool, or that of the pool."""
        found = self.spec.place(*(f"pool.{key}" for key in keys))
        return found or self.spec.pool.where

    def at_job(self, *keys: str) -> Place:
        """The position of the first of these keys of the job, or that of the job."""
        return self.spec.place(*(f"job.{key}" for key in keys)) or self.spec.job.where

    def at_stage(self, stage: Stage, *keys: str) -> Place:
        """The position of the first of these keys of a stage, or that of the stage."""
        found = self.spec.place(*(f"tasks.{stage.name}.{key}" for key in keys))
        return found or stage.where


ERROR, QUESTION = Severity.ERROR, Severity.QUESTION
WARNING, NOTE = Severity.WARNING, Severity.NOTE

P = ParamSpec("P")


@frozen
class Finding:
    """One violation of a rule: what happened, where, and a more specific fix than the rule's."""

    summary: str
    where: Place | None = None
    detail: str = ""
    fix: str = ""


@frozen
class Rule(Generic[P]):
    """A check with its metadata; calling it returns the diagnostics of all violations.

    An ``ERROR`` stops the plan, and nothing is sent. A ``QUESTION`` needs the user's consent before
    anything is sent. A ``WARNING`` and a ``NOTE`` are shown with the plan. An ``offline`` rule
    needs only the spec and its files, so ``validate`` checks it, too.
    """

    code: str
    severity: Severity
    title: str
    why: str
    fix: str
    check: Callable[P, Iterable[Finding]]
    offline: bool = False

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Iterator[Diagnostic]:
        """The diagnostics of this rule; the arguments are those of the check."""
        return map(self.report, self.check(*args, **kwargs))

    def report(self, found: Finding) -> Diagnostic:
        """The diagnostic of a violation, with the rule's fix unless it has a more specific one."""
        fix = found.fix or self.fix
        return Diagnostic(self.code, found.summary, found.detail, found.where, fix, self.severity)


@frozen
class RuleGroup:
    """Rules about one subject, in the order of ``docs/findings.md``.

    ``checks`` are the ``rules`` that need only the context; every plan runs them.
    """

    title: str
    about: str
    rules: list[Rule[Any]] = field(default_factory=list)
    checks: list[Rule[[RuleContext]]] = field(default_factory=list)

    def rule(
        self, code: str, severity: Severity, *, title: str, why: str, fix: str
    ) -> Callable[[Callable[P, Iterable[Finding]]], Rule[P]]:
        """Add a rule that its caller runs, with separate arguments."""

        def add(check: Callable[P, Iterable[Finding]]) -> Rule[P]:
            rule = Rule(code, severity, title, why, fix, check)
            self.rules.append(rule)
            return rule

        return add

    def check(
        self,
        code: str,
        severity: Severity,
        *,
        title: str,
        why: str,
        fix: str,
        offline: bool = False,
    ) -> Callable[[Callable[[RuleContext], Iterable[Finding]]], Rule[[RuleContext]]]:
        """Add a rule that every plan runs; ``validate`` also runs ``offline`` rules."""

        def add(check: Callable[[RuleContext], Iterable[Finding]]) -> Rule[[RuleContext]]:
            rule = Rule(code, severity, title, why, fix, check, offline)
            self.rules.append(rule)
            self.checks.append(rule)
            return rule

        return add

    def describe(self, code: str, severity: Severity, title: str, why: str, fix: str) -> None:
        """Add the metadata of a rule that is checked in ``spec``, or while tasks are created."""
        self.rules.append(Rule(code, severity, title, why, fix, _checked_elsewhere))


def _checked_elsewhere() -> Iterable[Finding]:
    return ()


_CAPITAL = re.compile(r"(?<=[a-z0-9])[A-Z]")
_LAST = re.compile(r"(?:\.[^.\[\]]+|\[\d+\])$")


@frozen
class TaskBody:
    """A body of a task as the spec describes it; ``path`` is the path of its keys in the spec.

    ``name`` is the name of the task in messages. ``stage`` is ``None`` for the start task and the
    special tasks of the job.
    """

    name: str
    path: str
    body: Record
    where: Place
    stage: Stage | None = None


def task_bodies(context: RuleContext) -> Iterator[TaskBody]:
    """The start task, the special tasks of the job, and one body for each stage."""
    spec, job = context.spec, context.spec.job.properties
    if not context.existing:
        start = spec.pool.properties.get("startTask")
        if isinstance(start, Record):
            at = spec.place("pool.start_task") or spec.pool.where
            yield TaskBody("the start task", "pool.start_task", start, at)
    for key, name in (
        ("jobManagerTask", "the job manager task"),
        ("jobPreparationTask", "the job preparation task"),
        ("jobReleaseTask", "the job release task"),
    ):
        task = job.get(key)
        if isinstance(task, Record):
            path = f"job.{rest_to_key(key)}"
            yield TaskBody(name, path, task, spec.place(path) or spec.job.where)
    for stage in spec.stages:
        yield TaskBody(
            f"tasks of {stage.name}", f"tasks.{stage.name}", stage.body, stage.where, stage
        )


def rest_to_key(name: str) -> str:
    """The key of a REST property: ``httpUrl`` → ``http_url``."""
    return _CAPITAL.sub(lambda match: f"_{match.group().lower()}", name)


def place_of(spec: Spec, path: str, default: Place) -> Place:
    """The position of a property, or of the nearest one above it that the file contains."""
    while path:
        if (found := spec.place(path)) is not None:
            return found
        shorter = _LAST.sub("", path)
        path = shorter if shorter != path else ""
    return default


def resource_files(body: Record, path: str) -> Iterator[tuple[str, Record]]:
    """The ResourceFiles of a body, each with its path in the spec."""
    yield from records_at(body, "resourceFiles", path)
    settings = body.record("multiInstanceSettings")
    yield from records_at(settings, "commonResourceFiles", f"{path}.multi_instance_settings")


def records_at(body: Record, key: str, path: str) -> Iterator[tuple[str, Record]]:
    """The objects of a list, each with its path in the spec."""
    for number, item in enumerate(body.array(key)):
        if isinstance(item, Record):
            yield f"{path}.{rest_to_key(key)}[{number}]", item
