"""``batchspec list``: what batchspec made in the account, and what of it nobody uses."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime

from batchspec.cli.account import opened
from batchspec.cli.options import Format, Target
from batchspec.cli.screen import out
from batchspec.cli.session import single
from batchspec.diagnostics import Exit
from batchspec.observe.inventory import inventory
from batchspec.render.inventory import inventory_json, inventory_text
from batchspec.render.style import wants_color


async def list_(
    target: Target | None, environ: Mapping[str, str], form: Format, *, orphans: bool
) -> int:
    """List what batchspec made, or of that only what nobody uses; the exit code."""
    async with opened(target, environ) as cloud:
        with single():
            found = await inventory(cloud.reader)
    account = cloud.reader.account
    if orphans:
        found = tuple(owned for owned in found if owned.orphan)
    if form is Format.JSON:
        out(inventory_json(account, found))
        return Exit.DONE
    color = wants_color(sys.stdout, os.environ)
    out(inventory_text(account, found, datetime.now(UTC), orphans=orphans, color=color))
    return Exit.DONE
