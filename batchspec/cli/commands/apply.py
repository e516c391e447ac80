"""``batchspec apply``: plan, ask, carry out, wait, fetch, clean up."""

from __future__ import annotations

from batchspec.cli.asking import ask_and_run
from batchspec.cli.options import ProgressKind, Wanted
from batchspec.cli.session import session
from batchspec.plan.build import build
from batchspec.plan.detach import detached


async def apply(
    wanted: Wanted, progress: ProgressKind, *, yes: bool, verbose: bool, detach: bool
) -> int:
    """Bring the account to what the spec says; the exit code."""
    async with session(wanted) as found:
        made = build(found.spec, found.observed)
        if detach:
            made = detached(made)
        return await ask_and_run(made, found, progress, yes=yes, verbose=verbose)
