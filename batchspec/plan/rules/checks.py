"""The rules that need a spec and observed facts, but no steps. ``validate`` and plans run them.

Rules about steps are not imported here, because imports add to the start time of ``validate``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, time

from batchspec.catalog import images as catalog
from batchspec.diagnostics import Diagnostic, Diagnostics, Severity
from batchspec.plan.observed import (
    AccountNames,
    ContainerFacts,
    LocalFile,
    Observed,
    Stream,
    SupportedImage,
)
from batchspec.plan.rules.account import ACCOUNT
from batchspec.plan.rules.data import DATA
from batchspec.plan.rules.files import FILES
from batchspec.plan.rules.image import IMAGE, runs_windows, with_image
from batchspec.plan.rules.limits import REQUESTS
from batchspec.plan.rules.node_variables import NODE_VARIABLES
from batchspec.plan.rules.pool import COSTS, POOL
from batchspec.plan.rules.references import DEPENDENCIES, REFERENCES, check_dependencies
from batchspec.plan.rules.result_inputs import RESULT_INPUTS
from batchspec.plan.rules.rule import Rule, RuleContext, RuleGroup
from batchspec.plan.rules.sas import ACCESS
from batchspec.plan.rules.signed_urls import SIGNED_URLS
from batchspec.plan.rules.stage import STAGE
from batchspec.plan.rules.tasks import check_stages
from batchspec.spec import EachBlob, Rows, Spec, read_rows

CHECKED: tuple[RuleGroup, ...] = (
    DATA,
    RESULT_INPUTS,
    IMAGE,
    POOL,
    STAGE,
    DEPENDENCIES,
    REFERENCES,
    NODE_VARIABLES,
    REQUESTS,
    FILES,
    ACCESS,
    SIGNED_URLS,
    COSTS,
    ACCOUNT,
)
"""The groups that contain these rules."""


def checks() -> Iterator[Rule[[RuleContext]]]:
    """The rules that every plan runs, in the order of ``docs/findings.md``."""
    for group in CHECKED:
        yield from group.checks


def errors(context: RuleContext) -> Iterator[Diagnostic]:
    """The errors. A plan with an error is not applied."""
    for rule in checks():
        if rule.severity is Severity.ERROR:
            yield from rule(context)


def offline(context: RuleContext) -> Iterator[Diagnostic]:
    """The findings that need no account: errors of all rules, and warnings of ``offline`` rules.

    Rules that depend on the account find nothing in a context without facts about it.
    """
    for rule in checks():
        if rule.offline or rule.severity is Severity.ERROR:
            yield from rule(context)


MOST_ITEMS = 20_000
"""Tasks of each stage that are checked offline, which takes a few seconds."""


def check_offline(
    spec: Spec, files: Mapping[str, Stream[LocalFile]], now: datetime, *, tasks: bool = True
) -> tuple[Diagnostic, ...]:
    """The findings of a spec and of its tasks; ``files`` are the uploads by container key.

    The first :data:`MOST_ITEMS` tasks of each stage are checked; a plan checks all. Tasks for blobs
    in the account are not known and not checked. Files of rows are read. Images are compared with
    the catalog; the account may list more images. Without ``tasks``, no task is created.
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
    # The account may list images that the catalog lacks, so an unknown alias is no finding here.
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
