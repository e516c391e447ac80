"""What can be found wrong with a spec and its files without an account: for ``validate``."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, time

from batchspec.catalog import images as catalog
from batchspec.diagnostics import Diagnostic, Diagnostics
from batchspec.plan.observed import (
    AccountNames,
    ContainerFacts,
    LocalFile,
    Observed,
    Stream,
    SupportedImage,
)
from batchspec.plan.pool import runs_windows, with_image
from batchspec.plan.rules.dependencies import check_dependencies
from batchspec.plan.rules.registry import offline
from batchspec.plan.rules.rule import RuleContext
from batchspec.plan.rules.tasks import check_stages
from batchspec.spec import EachBlob, Rows, Spec, read_rows


def check_offline(
    spec: Spec, files: Mapping[str, Stream[LocalFile]], now: datetime, *, tasks: bool = True
) -> tuple[Diagnostic, ...]:
    """The findings of a spec and of its tasks; ``files`` are the uploads by container key.

    Tasks for blobs in the account are not known and are not checked. Files of rows are read. Images
    are compared with the catalog; an image that it lacks may be in the list of the account. Without
    ``tasks`` no task is created.
    """
    observed = Observed(
        account=AccountNames("", "", ""),
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
