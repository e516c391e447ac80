"""A spec and its account, open and observed: what plan, apply and destroy begin with."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TypeAlias

from batchspec.cli.account import opened
from batchspec.cli.options import Target, Wanted
from batchspec.cli.origin import origin_of
from batchspec.cli.reading import read, scanned
from batchspec.cli.screen import Notices
from batchspec.cloud import AccountClient
from batchspec.diagnostics import BatchspecError
from batchspec.observe.account import observe
from batchspec.observe.spool import Spool
from batchspec.plan.observed import Observed
from batchspec.spec import Spec

Door: TypeAlias = Callable[
    [Target | None, Mapping[str, str], Notices], AbstractAsyncContextManager[AccountClient]
]
"""What opens the account."""


@dataclass(frozen=True, slots=True)
class Session:
    """A spec, an open account and what was observed of it; ``wanted`` is how they were named."""

    wanted: Wanted
    spec: Spec
    cloud: AccountClient
    observed: Observed
    notices: Notices


@asynccontextmanager
async def session(
    wanted: Wanted, *, files: bool = True, work: bool = True, door: Door = opened
) -> AsyncIterator[Session]:
    """Read the spec, look at the disk (``files``) and at the account, with all its ``work``."""
    with scanned(wanted) if files else _unscanned(wanted) as (spec, spool):
        notices = Notices()
        async with door(wanted.target, wanted.environ, notices) as cloud:
            with single():
                observed = await observe(
                    spec,
                    cloud.reader,
                    spool,
                    work=work,
                    longest_sas=cloud.longest_sas,
                    origin=origin_of(spec.path, wanted.environ),
                )
            yield Session(wanted, spec, cloud, observed, notices)


@contextmanager
def _unscanned(wanted: Wanted) -> Iterator[tuple[Spec, Spool]]:
    """The spec, and a spool for the account's facts alone."""
    with Spool() as spool:
        yield read(wanted), spool


@contextmanager
def single() -> Iterator[None]:
    """Raise the first of our own errors out of an exception group: it was what ended the rest."""
    try:
        yield
    except BaseExceptionGroup as failures:
        ours = failures.subgroup(BatchspecError)
        if ours is None:
            raise
        error: BaseException = ours
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        raise error from None
