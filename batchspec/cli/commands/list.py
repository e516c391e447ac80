"""``batchspec list``: the resources that batchspec created in the account, also unused ones."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import Annotated

import typer

from batchspec.cli.console import ConsoleNotices, out, out_document, use_color
from batchspec.cli.options import Format, TargetOption, TextOrJson
from batchspec.exit_codes import Exit


async def list_(
    orphans: Annotated[
        bool,
        typer.Option(
            "--orphans", help="List only orphans: resources that no open job or schedule uses."
        ),
    ] = False,
    target: TargetOption = None,
    output_format: TextOrJson = Format.TEXT,
) -> int:
    """List the pools, jobs, schedules and containers that batchspec created in the account."""
    from batchspec.api import first_error, open_target, orphan_costs
    from batchspec.observe import owned_resources
    from batchspec.render import inventory_json, inventory_text

    async with open_target(target, os.environ, ConsoleNotices()) as cloud:
        with first_error():
            found = await owned_resources(cloud)
    account = cloud.names
    if orphans:
        found = tuple(item for item in found if item.orphan)
    costs = await orphan_costs(account, found) if orphans else {}
    if output_format is Format.JSON:
        out_document(inventory_json(account, found, costs))
    else:
        now = datetime.now(UTC)
        out(inventory_text(account, found, now, orphans=orphans, costs=costs, color=use_color()))
    return Exit.DONE
