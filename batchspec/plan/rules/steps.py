"""Rules of steps in groups whose other rules need none: quotas, and the folders for results.

``validate`` has no steps and does not import them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from batchspec.plan.actions import CreateJob, CreatePool, CreateSchedule, DownloadResults
from batchspec.plan.plan import Step
from batchspec.plan.rules.account import ACCOUNT
from batchspec.plan.rules.data import DATA
from batchspec.plan.rules.rule import ERROR, WARNING, Finding, RuleContext

_MAX_POOLS = 100
"""Pools that an account can have by default (Batch quotas and limits: 0 to 100)."""
_MAX_JOBS = 100
"""Active jobs and schedules that every account can have (Batch quotas and limits: 100 to 300)."""
_COUNTED = CreateJob | CreateSchedule
"""A replacement does not add to the count."""
_NEAR = 0.9
_LIMITED = "azure"


@ACCOUNT.rule(
    "pools-near-quota",
    WARNING,
    title="The account is close to its quota of pools",
    why="The default quota is up to 100 (at most 500 on request); at the quota the service rejects"
    " new pools (`PoolQuotaReached`).",
    fix="Delete unused pools: `batchspec list --orphans` finds them.",
)
def pools_near_quota(context: RuleContext, steps: Sequence[Step]) -> Iterator[Finding]:
    """A pool to create brings the number of pools close to the quota, or the default quota."""
    most = f"up to {_MAX_POOLS}"
    if near := _near_quota(context, steps, "pools", "pools", _MAX_POOLS, most):
        yield Finding(f"with this pool the account has {near}", context.spec.pool.where)


@ACCOUNT.rule(
    "jobs-near-quota",
    WARNING,
    title="The account is close to its quota of active jobs",
    why="Active jobs and job schedules count together. The default quota is 100 to 300 (at most"
    " 1,000 on request); at the quota the service rejects new jobs"
    " (`ActiveJobAndScheduleQuotaReached`).",
    fix="Terminate jobs that are no longer used.",
)
def jobs_near_quota(context: RuleContext, steps: Sequence[Step]) -> Iterator[Finding]:
    """A job to create brings the number of active jobs close to the quota, or the default quota."""
    most = f"{_MAX_JOBS} to 300"
    if near := _near_quota(context, steps, "jobs", "active jobs and schedules", _MAX_JOBS, most):
        yield Finding(f"with this job the account has {near}", context.spec.job.where)


@ACCOUNT.rule(
    "pool-quota-reached",
    ERROR,
    title="The account has as many pools as its quota allows",
    why="The service rejects new pools (`PoolQuotaReached`). Auto pools count, too.",
    fix="Delete pools that are not used (`batchspec list --orphans`), or request a higher quota:"
    " Azure portal, the Batch account, Quotas.",
)
def pool_quota_reached(context: RuleContext, steps: Sequence[Step]) -> Iterator[Finding]:
    """A pool to create, in an account whose quota is known and used."""
    count = _count(context, "pools", steps)
    if count is not None and count.is_exceeded:
        yield Finding(
            f"the account has {count.existing} pools, and its quota is {count.quota}",
            context.spec.pool.where,
        )


@ACCOUNT.rule(
    "job-quota-reached",
    ERROR,
    title="The account has as many active jobs as its quota allows",
    why="The service rejects new jobs and job schedules (`ActiveJobAndScheduleQuotaReached`).",
    fix="Terminate jobs that are no longer used, or request a higher quota: Azure portal, the Batch"
    " account, Quotas.",
)
def job_quota_reached(context: RuleContext, steps: Sequence[Step]) -> Iterator[Finding]:
    """A job to create, in an account whose quota is known and used."""
    count = _count(context, "jobs", steps)
    if count is not None and count.is_exceeded:
        yield Finding(
            f"the account has {count.existing} active jobs and schedules, and its quota is"
            f" {count.quota}",
            context.spec.job.where,
        )


@dataclass(frozen=True, slots=True)
class _Count:
    """Pools, or active jobs and schedules: those that exist, and the ``total`` with new ones.

    ``quota`` is ``None`` if it is not known.
    """

    existing: int
    total: int
    quota: int | None

    @property
    def is_exceeded(self) -> bool:
        """Whether the quota is known and does not allow the new ones."""
        return self.quota is not None and self.total > self.quota

    def is_near(self, default: int) -> bool:
        """Whether the total is close to the quota, or to the ``default`` if that is not known."""
        limit = default if self.quota is None else self.quota
        return self.total >= _NEAR * limit and not self.is_exceeded


def _near_quota(  # noqa: PLR0917 - the words of one sentence
    context: RuleContext,
    steps: Sequence[Step],
    kind: Literal["pools", "jobs"],
    noun: str,
    default: int,
    most: str,
) -> str:
    """The number of resources of a kind if it is close to the quota; otherwise empty.

    Without a known quota it is compared with the ``default``, which the service describes as
    ``most``.
    """
    count = _count(context, kind, steps)
    if count is None or context.observed.account.target != _LIMITED or not count.is_near(default):
        return ""
    if count.quota is None:
        return f"{count.total} {noun}; the default quota is {most}"
    return f"{count.total} of {count.quota} {noun}"


def _count(
    context: RuleContext, kind: Literal["pools", "jobs"], steps: Sequence[Step]
) -> _Count | None:
    """The number of resources of a kind; ``None`` if it is not known, or no step creates one."""
    usage, resource = context.observed.usage, context.account
    created = CreatePool if kind == "pools" else _COUNTED
    new = sum(isinstance(step.action, created) for step in steps)
    if usage is None or not new:
        return None
    existing = usage.pools if kind == "pools" else usage.jobs
    quota = None
    if resource is not None:
        quota = resource.pools if kind == "pools" else resource.jobs
    return _Count(existing, existing + new, quota)


@DATA.rule(
    "results-unwritable",
    ERROR,
    title="The folder for results is not writable",
    why="The download would fail after all tasks have run. A receipt of the download is stored in"
    " `.batchspec/`, in the folder of the spec.",
    fix="Use another folder in `results.to`, or make this one writable.",
)
def results_unwritable(context: RuleContext, steps: Sequence[Step]) -> Iterator[Finding]:
    """Folders of results or of the receipt in which no file can be created."""
    results = context.spec.results
    places = {result.to: result.where for result in reversed(results)}
    for folder, why in context.observed.unwritable.items() if _downloads(steps) else ():
        yield Finding(
            f"results cannot be written to {os.fspath(folder)}: {why}",
            places.get(folder, results[0].where),
        )


@DATA.rule(
    "results-folder-used",
    WARNING,
    title="The folder for results contains other files",
    why="With `overwrite` (the default) a result replaces a file with the same name; without it,"
    " the file remains and the result is not downloaded.",
    fix="Use a separate folder in `results.to`.",
)
def results_folder_used(context: RuleContext, steps: Sequence[Step]) -> Iterator[Finding]:
    """Folders of results that contain files which are not of an earlier download."""
    downloads = _downloads(steps)
    for result in context.spec.results:
        container = context.spec.container_id(result.container)
        if result.to in context.observed.occupied and container in downloads:
            effect = "may be overwritten" if result.overwrite else "are kept"
            yield Finding(
                f"the folder for results {result.to.name}/ contains other files, which {effect}",
                result.where,
            )


def _downloads(steps: Sequence[Step]) -> frozenset[str]:
    """The containers (ids) that the plan downloads from."""
    actions = (step.action for step in steps)
    return frozenset(each.container for each in actions if isinstance(each, DownloadResults))
