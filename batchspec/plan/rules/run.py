"""Rules about the run: its version, earlier results, an open job, and plans for a part of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from batchspec.diagnostics import counted
from batchspec.plan.actions import RestartNodes
from batchspec.plan.metadata import (
    ORIGIN,
    Provenance,
    from_elsewhere,
    read_provenance,
)
from batchspec.plan.observed import JobFacts, Observed
from batchspec.plan.options import Part
from batchspec.plan.plan import Step
from batchspec.plan.rules.rule import ERROR, NOTE, QUESTION, WARNING, Finding, RuleGroup
from batchspec.plan.task_sets import TaskSets, newest_open
from batchspec.spec import Pool, Result, Spec

RUN = RuleGroup("Run", "Earlier and concurrent runs, and options of the command line.")


@RUN.rule(
    "other-version",
    QUESTION,
    title="The run in the account belongs to another version of the spec",
    why="The spec, its parameters or its files have changed since the run was submitted, or a "
    "spec with the same name was applied from another folder. `download` and `attach` would "
    "download the results of that run, which replace files with the same names in the folder for "
    "results.",
    fix="`batchspec apply` runs the current version of the spec. Answer yes (`-y`) to use the run"
    " in the account.",
)
def other_version(spec: Spec, observed: Observed, job: JobFacts) -> Iterator[Finding]:
    """The run that ``download`` or ``attach`` found; ``job`` is its newest job."""
    yield Finding(
        "the run in the account belongs to another version of the spec:"
        f" {_applied(observed, job.metadata)}",
        spec.place("name"),
        f"job {job.id}, created at {job.created:%Y-%m-%d %H:%M} UTC",
    )


@RUN.rule(
    "version-unknown",
    NOTE,
    title="The run was not compared with the spec",
    why="The files of the spec are not on this machine, so `download` and `attach` cannot check"
    " whether the run in the account is of the current version. They use that run.",
    fix="Copy the files of the spec to this machine to compare the versions.",
)
def version_unknown(spec: Spec, observed: Observed, job: JobFacts) -> Iterator[Finding]:
    """A run whose version cannot be compared."""
    yield Finding(
        f"files of {spec.name!r} are not on this machine: the run was not compared with the spec",
        detail=f"The run was {_applied(observed, job.metadata)}.",
    )


@RUN.rule(
    "not-submitted",
    NOTE,
    title="The run in the account does not contain all tasks of the spec",
    why="Items were added to the spec after the run was submitted. Only results of tasks of"
    " the current spec are downloaded.",
    fix="`batchspec apply` runs the other tasks.",
)
def not_submitted(spec: Spec, tasks: int) -> Iterator[Finding]:
    """Tasks of the spec that are not in the account; ``tasks`` is their number."""
    number = counted(tasks, "task of the spec is", "tasks of the spec are")
    yield Finding(f"{number} not in the account", spec.place("tasks"))


@RUN.rule(
    "outputs-lost",
    WARNING,
    title="Outputs of succeeded tasks are missing in the account",
    why="They were deleted, or never written, and are not on this disk.",
    fix="`batchspec apply` runs these tasks again.",
)
def outputs_lost(spec: Spec, tasks: int) -> Iterator[Finding]:
    """Succeeded tasks (``tasks`` is their number) whose outputs are missing in the account."""
    if tasks:
        number = counted(tasks, "task")
        where = spec.results[0].where if spec.results else spec.place("tasks")
        yield Finding(f"outputs of {number} are missing in the account", where)


def _applied(observed: Observed, metadata: Mapping[str, str]) -> str:
    """Who applied a run and when, and the place if it was not this folder."""
    elsewhere = from_elsewhere(metadata, {ORIGIN: observed.origin.id})
    return applied_text(read_provenance(metadata), observed.origin.by if elsewhere else "")


def applied_text(applied: Provenance, here: str) -> str:
    """Who applied a run, from which place, and when."""
    by = applied.by or "another client"
    host = applied.by.rpartition("@")[2]
    place = " from another spec file of this host" if host == here.rpartition("@")[2] != "" else ""
    when = f" at {applied.at:%Y-%m-%d %H:%M} UTC" if applied.at is not None else ""
    return f"applied by {by}{place}{when}"


@RUN.rule(
    "existing-pool-restart",
    QUESTION,
    title="Nodes of an existing pool are restarted",
    why="The start task or the preparation task failed on these nodes, and runs again after a"
    " restart. The pool was not created by this spec: tasks of other jobs on these nodes are"
    " requeued.",
    fix="Answer yes (`-y`) if no other job is affected. Otherwise ask the owner of the pool to"
    " restart them: `az batch node reboot --pool-id POOL --node-id NODE`.",
)
def existing_pool_restart(pool: Pool, steps: Iterable[Step]) -> Iterator[Finding]:
    """Steps that restart nodes of a pool marked ``existing``."""
    nodes = sum(step.items for step in steps if isinstance(step.action, RestartNodes))
    if nodes:
        yield Finding(
            f"{counted(nodes, 'node is', 'nodes are')} restarted in the pool {pool.id!r},"
            " which this spec did not create",
            pool.where,
        )


@RUN.rule(
    "results-gone",
    WARNING,
    title="The results of the finished run no longer exist",
    why="They are neither on this disk nor in the account, so all tasks run again.",
    fix="Restore the results to their folder to keep them.",
)
def results_gone(spec: Spec, observed: Observed) -> Iterator[Finding]:
    """Results that are in no container and in no folder."""
    gone = [r for r in spec.results if not observed.containers[r.container].exists]
    yield Finding(
        "the results of the finished run are neither on this disk nor in the account: all tasks"
        " run again",
        gone[0].where if gone else None,
        "Deleted: " + _containers(spec, gone) if gone else "",
    )


@RUN.rule(
    "results-missing",
    ERROR,
    title="Results in the account have not been downloaded",
    why="`destroy` would delete them.",
    fix="`batchspec download` downloads them now; `batchspec attach` waits for the end of the job"
    " first. `batchspec destroy --force` deletes them.",
)
def results_missing(spec: Spec, observed: Observed, results: list[Result]) -> Iterator[Finding]:
    """Results that would be lost with their containers."""
    verb = "download"
    if spec.job.schedule is None and newest_open(observed) is not None:
        verb = "attach"  # More results may follow, and `destroy` needs all of them.
    yield Finding(
        "results in the account have not been downloaded",
        results[0].where,
        _containers(spec, results),
        f"`batchspec {verb}` downloads them, with `-y` also if the run belongs to another version"
        " of the spec; `batchspec destroy --force` deletes them anyway.",
    )


def _containers(spec: Spec, results: list[Result]) -> str:
    return ", ".join(f"container {spec.container_id(result.container)}" for result in results)


@RUN.rule(
    "work-changed",
    NOTE,
    title="All tasks run again although some succeeded in an earlier version",
    why="The program, a parameter, the image or something else that all tasks share has changed, so"
    " the work of every task has changed.",
    fix="`batchspec retry` runs only the failed tasks and the tasks that depend on them, and"
    " keeps the others.",
)
def work_changed(task_sets: TaskSets) -> Iterator[Finding]:
    """Changed tasks, some of which have succeeded, and others failed, with their earlier work."""
    succeeded, failed = task_sets.superseded
    if succeeded and failed:
        yield Finding(
            f"changed tasks run again: {succeeded:,} succeeded and {failed:,} failed before"
        )


@RUN.rule(
    "earlier-version-kept",
    NOTE,
    title="Tasks of an earlier version count as done",
    why="`batchspec retry` kept them, and the spec has not changed since.",
    fix="`batchspec apply --rerun` runs everything again.",
)
def earlier_version_kept(task_sets: TaskSets) -> Iterator[Finding]:
    """Tasks that ran with an earlier version of the program, the inputs or the spec."""
    if task_sets.other:
        tasks = counted(task_sets.other, "task")
        yield Finding(
            f"{tasks} ran with an earlier version of the spec or its files (kept by retry)"
        )


@RUN.rule(
    "run-not-over",
    ERROR,
    title="The job of this run has not ended",
    why="`--rerun` runs finished tasks again; a task never runs twice at the same time.",
    fix="`batchspec attach` waits for the job; `batchspec apply --replace job` terminates it.",
)
def run_not_over(spec: Spec, job: JobFacts) -> Iterator[Finding]:
    """``--rerun`` with an open job."""
    yield Finding(f"the job {job.id!r} of this run has not ended", spec.job.where)


@RUN.rule(
    "job-open",
    WARNING,
    title="The job is open: more tasks may be added",
    why="The job ends automatically only after it has been closed.",
    fix="If no other client is submitting tasks, `batchspec apply` resumes the run.",
)
def job_open(job: JobFacts, *, scheduled: bool) -> Iterator[Finding]:
    """``attach`` to a job that does not end when its tasks are completed."""
    fix = (
        "The job ends when one of its tasks terminates it, or at its time limit."
        if scheduled
        else ""
    )
    yield Finding(f"the job {job.id!r} is open: more tasks may be added", fix=fix)


@RUN.rule(
    "part-of-run",
    NOTE,
    title="The job contains only part of the run",
    why="Other tasks may have failed, so nothing is cleaned up.",
    fix="`batchspec apply` checks the whole run and cleans up.",
)
def part_of_run(job: JobFacts) -> Iterator[Finding]:
    """``attach`` to a job that does not contain all tasks of the run."""
    yield Finding(f"the job {job.id!r} contains only part of the run: clean-up is skipped")


@RUN.rule(
    "not-all-results",
    NOTE,
    title="The job has not ended: more results may follow",
    why="`download` downloads the results that exist now.",
    fix="`batchspec attach` waits for the job and downloads all results.",
)
def not_all_results(job: JobFacts) -> Iterator[Finding]:
    """``download`` from a job in progress."""
    yield Finding(f"the job {job.id!r} has not ended: more results may follow")


@RUN.rule(
    "part-of-plan",
    NOTE,
    title="Only part of the plan is carried out",
    why="`--target-step` selects one step and the steps that it needs.",
    fix="Run the command without `--target-step` to carry out the whole plan.",
)
def part_of_plan(step: str, left_out: int) -> Iterator[Finding]:
    """A plan for one step."""
    steps = counted(left_out, "other step is", "other steps are")
    yield Finding(f"only {step} and the steps that it needs are carried out: {steps} left out")


@RUN.rule(
    "nothing-replaced",
    NOTE,
    title="`--replace` has no effect",
    why="No tasks are left to run, so nothing would use the new pool or job.",
    fix="`batchspec apply --rerun` runs all tasks again.",
)
def nothing_replaced(parts: frozenset[Part]) -> Iterator[Finding]:
    """``--replace`` in a finished run."""
    if parts:
        names = " and ".join(f"the {part}" for part in sorted(parts))
        yield Finding(f"no tasks are left to run, so {names} will not be replaced")
