"""All rules by code, and the passes over them: errors first, everything else with the steps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, time
from typing import Any

from batchspec.catalog import images as catalog
from batchspec.diagnostics import Diagnostic, Diagnostics, Severity
from batchspec.plan.actions import DeleteContainers, DeleteJob, DeletePool, DownloadResults
from batchspec.plan.observed import (
    AccountNames,
    ContainerFacts,
    LocalFile,
    Observed,
    Stream,
    SupportedImage,
)
from batchspec.plan.plan import Step
from batchspec.plan.pool import runs_windows, with_image
from batchspec.plan.rules.account import (
    ACCOUNT,
    job_quota_reached,
    jobs_near_quota,
    pool_quota_reached,
    pools_near_quota,
)
from batchspec.plan.rules.capacity import CAPACITY, check_capacity
from batchspec.plan.rules.cost import BOUND
from batchspec.plan.rules.data import DATA, results_folder_used, results_unwritable
from batchspec.plan.rules.files import FILES
from batchspec.plan.rules.image import IMAGE
from batchspec.plan.rules.node_variables import NODE_VARIABLES
from batchspec.plan.rules.other_runs import OTHER_RUNS
from batchspec.plan.rules.pool import COSTS, POOL
from batchspec.plan.rules.references import DEPENDENCIES, REFERENCES, check_dependencies
from batchspec.plan.rules.requests import REQUESTS
from batchspec.plan.rules.rule import Rule, RuleContext, RuleGroup
from batchspec.plan.rules.run import RUN
from batchspec.plan.rules.sas import ACCESS, tasks_signed_earlier
from batchspec.plan.rules.schedule import SCHEDULE
from batchspec.plan.rules.signed_urls import SIGNED_URLS
from batchspec.plan.rules.spec_file import SPEC_FILE
from batchspec.plan.rules.spec_language import FORMULA, LANGUAGE, VALUES
from batchspec.plan.rules.stage import STAGE, many_tasks
from batchspec.plan.rules.tasks import TASKS, check_stages
from batchspec.plan.task_sets import TaskSets
from batchspec.spec import EachBlob, Rows, Spec, read_rows

GROUPS: tuple[RuleGroup, ...] = (
    SPEC_FILE,
    LANGUAGE,
    FORMULA,
    VALUES,
    DATA,
    IMAGE,
    POOL,
    STAGE,
    TASKS,
    DEPENDENCIES,
    REFERENCES,
    NODE_VARIABLES,
    REQUESTS,
    FILES,
    ACCESS,
    SIGNED_URLS,
    COSTS,
    BOUND,
    ACCOUNT,
    CAPACITY,
    RUN,
    OTHER_RUNS,
    SCHEDULE,
)

RULES: Mapping[str, Rule[Any]] = {rule.code: rule for group in GROUPS for rule in group.rules}

_AFTER_TASKS = DeletePool | DeleteJob | DeleteContainers | DownloadResults


def errors(context: RuleContext) -> Iterator[Diagnostic]:
    """The errors: with any of them nothing is sent."""
    for rule in _checks():
        if rule.severity is Severity.ERROR:
            yield from rule(context)


def offline(context: RuleContext) -> Iterator[Diagnostic]:
    """What can be found without an account: all errors, and warnings of ``offline`` rules.

    Errors that depend on the account are not found in a context without its facts.
    """
    for rule in _checks():
        if rule.offline or rule.severity is Severity.ERROR:
            yield from rule(context)


def advice(
    context: RuleContext, steps: Sequence[Step], task_sets: TaskSets | None = None
) -> Iterator[Diagnostic]:
    """Everything that does not stop these steps; ``task_sets`` are the tasks to run in a job.

    A plan that only downloads and cleans up gets no advice about pool and tasks.
    """
    if not all(isinstance(step.action, _AFTER_TASKS) for step in steps):
        for rule in _checks():
            if rule.severity is not Severity.ERROR:
                yield from rule(context)
    if task_sets is not None:
        yield from tasks_signed_earlier(context, task_sets)
        yield from many_tasks(context, task_sets)
    yield from check_capacity(context, steps)
    yield from pool_quota_reached(context, steps)
    yield from job_quota_reached(context, steps)
    yield from pools_near_quota(context, steps)
    yield from jobs_near_quota(context, steps)
    yield from results_unwritable(context, steps)
    yield from results_folder_used(context, steps)


def _checks() -> Iterator[Rule[[RuleContext]]]:
    for group in GROUPS:
        yield from group.checks


MOST_ITEMS = 20_000
"""How many tasks of each stage are checked offline: a few seconds."""


def check_offline(
    spec: Spec, files: Mapping[str, Stream[LocalFile]], now: datetime, *, tasks: bool = True
) -> tuple[Diagnostic, ...]:
    """The findings of a spec and of its tasks; ``files`` are the uploads by container key.

    Tasks for blobs in the account are not known and are not checked, nor those of a stage after the
    first :data:`MOST_ITEMS`, which a plan checks. Files of rows are read. Images
    are compared with the catalog; an image that it lacks may be in the list of the account. Without
    ``tasks`` no task is created.
    """
    observed = Observed(
        account=AccountNames("", "", ""),
        most_items=MOST_ITEMS,
        now=now,
        images=tuple(map(_supported_image, catalog.IMAGES)),
        containers={key: ContainerFacts(None, files[key]) for key in spec.containers},
        rows={
            stage.name: read_rows(stage.for_each.path, stage.for_each.where)
            for stage in spec.stages
            if tasks and isinstance(stage.for_each, Rows)
        },
    )
    windows = runs_windows(spec, observed)
    # The account may list an image that the catalog lacks, so an unknown alias is not a finding.
    body = with_image(spec.pool, observed, Diagnostics())
    found = [*offline(RuleContext(spec, observed, body))]
    if not tasks:
        return tuple(found)
    stages = [stage for stage in spec.stages if not isinstance(stage.for_each, EachBlob)]
    found += check_stages(spec, stages, observed, windows=windows)
    found += check_dependencies(spec, observed, windows=windows, offline=True)
    return tuple(found)


def _supported_image(image: catalog.Image) -> SupportedImage:
    """An image of the catalog as an entry of the account's list."""
    return SupportedImage(
        publisher=image.publisher,
        offer=image.offer,
        sku=image.sku,
        node_agent=image.agent,
        windows=image.os_type == "windows",
        verified=image.verified,
        capabilities=image.capabilities,
        end_of_life=datetime.combine(image.ends, time(), UTC) if image.ends else None,
    )
