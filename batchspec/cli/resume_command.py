"""Commands for the spec and account of this process, to print for the user.

Messages of the lower packages name commands without arguments (`` `batchspec failures` ``), because
only this package knows the command line of the user. :func:`completed` adds the arguments when a
message is shown.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

from batchspec.diagnostics import Diagnostic, KeyVaultSecret, MissingSecret, Secret

if TYPE_CHECKING:
    from batchspec.api import RunOptions
    from batchspec.apply.events import Event, Waiting
    from batchspec.plan import Plan, PlanOptions, Step
    from batchspec.spec import Spec

_WITH_RUN = (
    "apply",
    "attach",
    "cat",
    "cost",
    "destroy",
    "download",
    "failures",
    "logs",
    "ls",
    "plan",
    "retry",
    "status",
    "stop",
)
_WITH_SECRETS = frozenset({"apply", "retry"})
"""Commands that need the values of secret parameters."""
_WITH_MAX = frozenset({"apply", "plan", "retry"})
"""Commands with a limit for the cost of the run."""
_OPTIONS: Mapping[str, frozenset[str]] = {
    **dict.fromkeys(_WITH_RUN, frozenset({"spec", "variables", "target"})),
    **dict.fromkeys(("config", "report", "validate"), frozenset({"spec", "variables"})),
    **dict.fromkeys(("doctor", "list"), frozenset({"target"})),
}
"""Commands that accept a spec, the options for its parameters, and the option for the account."""

_COMMAND = re.compile(r"`batchspec ([a-z]+)((?: [^`]*)?)`")


ResumeCommand: TypeAlias = "Callable[[Sequence[Step]], tuple[str, ...]]"
"""The command that resumes a run whose ``done`` steps are these: a verb and its options."""


@dataclass(slots=True)
class _Selected:
    """The spec and account of this process; ``spec`` is ``None`` until it is loaded."""

    options: RunOptions | None = None
    spec: Spec | None = None


_SELECTED = _Selected()


def select(options: RunOptions | None, spec: Spec | None = None) -> None:
    """Complete the commands in messages with these options from now on; ``None``: no longer."""
    _SELECTED.options, _SELECTED.spec = options, spec


def resume_command(options: RunOptions, spec: Spec | None, verb: str, *arguments: str) -> str:
    """``batchspec VERB SPEC ...`` with the options that select account and parameters.

    The value of a secret parameter is replaced by ``...``; the user must enter it again. Without
    ``spec``, the secret parameters are not known, and every value is replaced.
    """
    return _command(options, spec, verb, shlex.join(arguments))


def always_resume_with(*command: str) -> ResumeCommand:
    """The same command, which resumes the run after any of its steps."""
    return lambda _: command


def resume_apply(options: PlanOptions, *, detach: bool) -> ResumeCommand:
    """``apply`` with the options that have not taken effect yet.

    ``--rerun`` and ``--replace`` request a new job or pool. After an interruption, the
    same options would refuse or replace what the run has created.
    """
    from batchspec.plan import Part
    from batchspec.plan.actions import (
        CreateJob,
        CreatePool,
        CreateSchedule,
        ReplaceJob,
        ReplacePool,
        ReplaceSchedule,
    )

    creates: Mapping[Part, tuple[type, ...]] = {
        Part.POOL: (CreatePool, ReplacePool),
        Part.JOB: (CreateJob, ReplaceJob, CreateSchedule, ReplaceSchedule),
    }

    def resume(done: Sequence[Step]) -> tuple[str, ...]:
        left = [part for part in Part if not _any(done, creates[part])]
        return (
            "apply",
            *(["--rerun"] if options.rerun and Part.JOB in left else []),
            *(text for part in left if part in options.replace for text in ("--replace", part)),
            *(["--target-step", options.step] if options.step else []),
            *(["--detach"] if detach else []),
        )

    return resume


def resume_retry(plan: Plan, causes: Sequence[str], tasks: Sequence[str]) -> ResumeCommand:
    """``retry`` while tasks are not submitted or the job is not closed; then ``attach``.

    Tasks in progress have not failed, and ``retry`` has nothing to do for them.
    """
    from batchspec.plan.actions import CloseJob, RestartNodes, RetryTasks, SubmitTasks

    submits = (SubmitTasks, RetryTasks, RestartNodes, CloseJob)
    needed = {step.id for step in plan.steps if isinstance(step.action, submits)}
    options = [
        *(text for cause in causes for text in ("--cause", cause)),
        *(text for task in tasks for text in ("--task", task)),
    ]

    def resume(done: Sequence[Step]) -> tuple[str, ...]:
        return ("retry", *options) if needed - {step.id for step in done} else ("attach",)

    return resume


def _any(steps: Sequence[Step], actions: tuple[type, ...]) -> bool:
    return any(isinstance(step.action, actions) for step in steps)


def completed(text: str) -> str:
    """The text with the spec and options of this process in each command between backticks.

    A command that already names the spec is not changed.
    """
    options = _SELECTED.options
    if options is None or "`batchspec " not in text:
        return text
    path = shlex.quote(str(options.path))

    def complete(match: re.Match[str]) -> str:
        verb, arguments = match[1], match[2].strip()
        if verb not in _OPTIONS or f" {path} " in f" {arguments} ":
            return match[0]
        arguments = re.sub(r"^SPEC\b ?", "", arguments)
        return f"`{_command(options, _SELECTED.spec, verb, arguments)}`"

    return _COMMAND.sub(complete, text)


def completed_problem(problem: Diagnostic) -> Diagnostic:
    """A diagnostic with complete commands in its fix."""
    return replace(problem, fix=completed(problem.fix))


def completed_wait(wait: Waiting) -> Waiting:
    """A cause with complete commands in its fix."""
    return replace(wait, action=completed(wait.action))


def completed_plan(plan: Plan) -> Plan:
    """A plan with complete commands in its findings."""
    return replace(plan, findings=tuple(map(completed_problem, plan.findings)))


def completed_event(event: Event) -> Event:
    """An event of a run with complete commands."""
    from batchspec.apply.events import Noticed, StepFailed, Waiting

    match event:
        case Waiting():
            return completed_wait(event)
        case Noticed(problem) | StepFailed(problem=problem):
            return replace(event, problem=completed_problem(problem))
    return event


def _command(options: RunOptions, spec: Spec | None, verb: str, arguments: str) -> str:
    accepted = _OPTIONS[verb]
    parts = ["batchspec", verb]
    if "spec" in accepted:
        parts.append(shlex.quote(str(options.path)))
    if arguments:
        parts.append(arguments)
    target = options.target
    if "target" in accepted and target is not None and not options.environ.get("BATCHSPEC_TARGET"):
        parts.append(f"--target {target.value}")
    if verb in _WITH_MAX and options.max_cost:
        parts.append(f"--max-cost {shlex.quote(options.max_cost)}")
    if "variables" in accepted:
        parts += _variables(options, spec, verb)
    return " ".join(parts)


def _variables(options: RunOptions, spec: Spec | None, verb: str) -> Iterator[str]:
    """The options for parameters; options that the user has to complete are last."""
    for file in options.variable_files:
        yield f"--var-file {shlex.quote(str(file))}"
    secrets = []
    for name, text in options.variables.items():
        if spec is None or isinstance(spec.parameters.get(name), Secret):
            secrets.append(f"--var {shlex.quote(name)}=...")
        else:
            yield f"--var {shlex.quote(f'{name}={text}')}"
    yield from secrets
    if verb in _WITH_SECRETS and spec is not None:
        for name, value in spec.parameters.items():
            if isinstance(value, MissingSecret) and not isinstance(value, KeyVaultSecret):
                yield f"--var {shlex.quote(name)}=..."
