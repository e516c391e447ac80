"""``batchspec download``: the results that are there, now."""

from __future__ import annotations

from batchspec.cli.options import Format, ProgressKind, Wanted
from batchspec.cli.running import carry_out
from batchspec.cli.screen import show_plan
from batchspec.cli.session import session
from batchspec.plan.attach import build_download


async def download(wanted: Wanted, progress: ProgressKind) -> int:
    """Fetch results; the exit code. Nothing is asked: the account stays as it is."""
    async with session(wanted, files=False, work=False) as found:
        made = build_download(found.spec, found.observed)
        if progress not in {ProgressKind.JSON, ProgressKind.QUIET}:
            show_plan(made, Format.TEXT, verbose=False)
        return await carry_out(made, found, progress, yes=True, again="download")
