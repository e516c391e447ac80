"""The values and errors of the Python interface, and the answers to questions of a run."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from batchspec.api.operations import Prepared
from batchspec.api.options import RunOptions
from batchspec.apply.ports import Deletion
from batchspec.diagnostics import (
    BatchspecError,
    Diagnostic,
    Secret,
    Severity,
    UsageError,
    redact,
)
from batchspec.exit_codes import Exit
from batchspec.plan import SavedPlan, Step, plan_file_text
from batchspec.plan.observed import AccountNames
from batchspec.render import Report, plan_markdown
from batchspec.render.questions import delete_question
from batchspec.spec import Spec, thaw

_CHOICE = re.compile(r" \[[yn]/[yn]\]\s*$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class LoadedSpec:
    """A checked spec with the values of its parameters and its account.

    Attributes:
        path: the file.
        name: the name of the run; jobs and pools are named after it.
        description: the description of the spec.
        parameters: the values of all parameters; the value of a secret is a :class:`Secret`.
        stages: the names of the entries of ``tasks``, in their order.
        warnings: valid settings that are probably mistakes.
    """

    path: Path
    name: str
    description: str
    parameters: Mapping[str, object]
    stages: tuple[str, ...]
    warnings: tuple[Diagnostic, ...]
    options: RunOptions = field(repr=False)
    """How it was loaded. Every operation reads the files again with these options."""

    @classmethod
    def of(cls, spec: Spec, warnings: tuple[Diagnostic, ...], options: RunOptions) -> LoadedSpec:
        """From the value that the other packages use."""
        parameters = {
            name: value if isinstance(value, Secret) else thaw(value, lambda text: text.shown)
            for name, value in spec.parameters.items()
        }
        stages = tuple(stage.name for stage in spec.stages)
        return cls(spec.path, spec.name, spec.description, parameters, stages, warnings, options)


@dataclass(frozen=True, slots=True)
class PlanStep:
    """One step of a plan.

    Attributes:
        id: names the step in events and in ``after``.
        verb: ``create``, ``update``, ``upload``, ``submit``, ``wait``, ``download``, ``delete`` ...
        subject: the resource, for example ``pool topn``.
        reason: why the step is in the plan.
        after: the ids of the steps that the step waits for.
        items: the number of files, tasks or nodes of the step.
        changes: the changes in the work of tasks that run again, if they are known.
    """

    id: str
    verb: str
    subject: str
    reason: str
    after: tuple[str, ...] = ()
    items: int = 1
    changes: tuple[str, ...] = ()

    @classmethod
    def of(cls, step: Step) -> PlanStep:
        """From the value that the other packages use."""
        return cls(
            step.id,
            step.verb.value,
            step.subject,
            step.reason,
            step.after,
            step.items,
            step.changes,
        )


@dataclass(frozen=True, slots=True)
class RunPlan:
    """The steps of ``apply``, each with its reason. ``apply`` accepts a plan instead of a spec.

    Attributes:
        name: the name of the run.
        account: the names of the Batch and the storage account, and ``local`` or ``azure``.
        steps: the steps in their order.
        kept: the resources that do not change, each with its reason.
        findings: warnings, notes, and the questions that ``apply`` asks.
        fingerprint: a digest of everything that the plan depends on.
        markdown: the plan as a table. A notebook shows it.
    """

    name: str
    account: AccountNames
    steps: tuple[PlanStep, ...]
    kept: tuple[PlanStep, ...]
    findings: tuple[Diagnostic, ...]
    fingerprint: str
    markdown: str = field(repr=False)
    options: RunOptions = field(repr=False)
    saved: SavedPlan = field(repr=False)

    @classmethod
    def of(cls, prepared: Prepared) -> RunPlan:
        """From a plan while its session is open."""
        plan = prepared.plan
        return cls(
            plan.name,
            plan.account,
            tuple(map(PlanStep.of, plan.steps)),
            tuple(map(PlanStep.of, plan.kept)),
            plan.findings,
            plan.fingerprint,
            redact(plan_markdown(plan)),
            prepared.session.options,
            prepared.saved(),
        )

    @property
    def empty(self) -> bool:
        """Whether there is nothing to do."""
        return not self.steps

    @property
    def questions(self) -> tuple[Diagnostic, ...]:
        """The findings that need consent before anything is sent."""
        return tuple(found for found in self.findings if found.severity is Severity.QUESTION)

    def text(self) -> str:
        """The plan as a file for ``batchspec apply FILE``; it contains no secrets."""
        return plan_file_text(self.saved)

    def _repr_markdown_(self) -> str:
        """How a notebook shows the plan."""
        return self.markdown


@dataclass(frozen=True, slots=True)
class Question:
    """A question that a run asks before it changes or deletes something.

    Attributes:
        text: the question, with the loss or the cost.
        problems: why it is asked.
        advised: the recommended answer.
    """

    text: str
    problems: tuple[Diagnostic, ...] = ()
    advised: bool = False


Confirm: TypeAlias = "bool | Callable[[Question], bool]"
"""The answer to all questions, or a function that answers each one."""


class ConsentError(UsageError):
    """A question was not answered with yes; nothing was sent. ``question`` is the question."""

    def __init__(self, question: Question) -> None:
        super().__init__(
            *question.problems,
            Diagnostic(
                "needs-answer",
                "a question was not answered with yes",
                detail=question.text,
                fix="To answer yes, pass `confirm=True`, or a function that answers questions.",
            ),
        )
        self.question = question


class RunError(BatchspecError):
    """A run ended without success; ``report`` is its report, ``exit`` its exit code."""

    def __init__(self, report: Report) -> None:
        super().__init__(*_problems(report))
        self.report = report
        self.exit = Exit(report.exit)


def _problems(report: Report) -> Iterator[Diagnostic]:
    """The errors of a run without success."""
    outcome = report.outcome.value.replace("_", " ") if report.outcome else "no end"
    yield Diagnostic(
        "run-failed",
        f"the run of {report.name} ended without success: {outcome}",
        detail="\n".join(_details(report)),
        fix="See the failures with `batchspec failures`; the same call resumes the run.",
    )
    yield from (each for each in report.problems if each.severity is Severity.ERROR)


def _details(report: Report) -> Iterator[str]:
    if report.tasks.failed:
        yield f"failed tasks: {report.tasks.failed:,} of {report.tasks.total:,}"
    for task in report.failures[:3]:
        last = task.stderr.strip().splitlines()[-1:]
        yield f"{task.task}: {': '.join((task.message or task.code, *last))}"
    yield from (wait.summary for wait in report.waits)


@dataclass(frozen=True, slots=True)
class Answers:
    """Answers the questions of a run. A function as ``confirm`` is called in another thread."""

    confirm: Confirm
    target: str

    async def agree(self, deletion: Deletion) -> bool:
        """Whether to delete something; yes to all is :attr:`Deletion.advised`."""
        if self.confirm is True:
            return deletion.advised
        text = delete_question(deletion, target=self.target)
        return await self.ask(Question(_plain(text), advised=deletion.advised))

    async def accept(self, problem: Diagnostic) -> bool:
        """Whether to continue despite ``problem``."""
        return await self.ask(Question("Continue?", (problem,)))

    async def ask(self, question: Question) -> bool:
        """The answer to a question."""
        if isinstance(self.confirm, bool):
            return self.confirm
        return bool(await asyncio.to_thread(self.confirm, question))


def _plain(text: str) -> str:
    """A question of the command line without its choice (``[y/N]``)."""
    return _CHOICE.sub("", text)


def plain_question(text: str, problems: tuple[Diagnostic, ...]) -> Question:
    """A question of the command line, as a value."""
    return Question(_plain(text), problems)
