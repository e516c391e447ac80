"""The rules that need a spec and what was observed, but no steps: those of ``validate``.

A plan runs them, too. Rules of steps are not imported, because imports count in the start time.
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
from batchspec.plan.rules.node_variables import NODE_VARIABLES
from batchspec.plan.rules.pool import COSTS, POOL
from batchspec.plan.rules.references import DEPENDENCIES, REFERENCES, check_dependencies
from batchspec.plan.rules.requests import REQUESTS
from batchspec.plan.rules.rule import Rule, RuleContext, RuleGroup
from batchspec.plan.rules.sas import ACCESS
from batchspec.plan.rules.signed_urls import SIGNED_URLS
from batchspec.plan.rules.stage import STAGE
from batchspec.plan.rules.tasks import check_stages
from batchspec.spec import EachBlob, Rows, Spec, read_rows

CHECKED: tuple[RuleGroup, ...] = (
    DATA,
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
"""The groups of these rules."""


def checks() -> Iterator[Rule[[RuleContext]]]:
    """The rules that every plan runs, in the order of ``docs/findings.md``."""
    for group in CHECKED:
        yield from group.checks


def errors(context: RuleContext) -> Iterator[Diagnostic]:
    """The errors: with any of them nothing is sent."""
    for rule in checks():
        if rule.severity is Severity.ERROR:
            yield from rule(context)


def offline(context: RuleContext) -> Iterator[Diagnostic]:
    """What can be found without an account: all errors, and warnings of ``offline`` rules.

    Errors that depend on the account are not found in a context without its facts.
    """
    for rule in checks():
        if rule.offline or rule.severity is Severity.ERROR:
            yield from rule(context)


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
