"""From the words of a command line to a plan: the first half of plan, apply, destroy and status."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from batchspec.cli.account import opened
from batchspec.cli.options import Wanted, variables_of
from batchspec.cli.screen import Notices
from batchspec.cloud.open import Cloud
from batchspec.observe.account import observe
from batchspec.observe.disk import scan
from batchspec.observe.spool import Spool
from batchspec.plan.observed import Observed
from batchspec.problems import BatchspecError, Problems
from batchspec.spec.model import Spec
from batchspec.spec.read import read_spec


def read(wanted: Wanted) -> Spec:
    """The spec, read and checked."""
    return read_spec(
        wanted.path,
        variables=variables_of(wanted.variables),
        variable_files=wanted.variable_files,
    )


@dataclass(frozen=True, slots=True)
class Session:
    """A spec, an open account and what was observed of it; ``wanted`` is how they were named."""

    wanted: Wanted
    spec: Spec
    cloud: Cloud
    observed: Observed
    notices: Notices


@contextmanager
def scanned(spec: Spec) -> Iterator[Spool]:
    """A spool that holds the files that the spec uploads.

    Raises:
        SpecError: files are missing, unreadable, or in each other's way.
    """
    problems = Problems()
    with Spool() as spool:
        scan(spec, spool, problems)
        problems.raise_if_any()
        yield spool


@asynccontextmanager
async def session(
    wanted: Wanted, *, files: bool = True, work: bool = True
) -> AsyncIterator[Session]:
    """Read the spec, look at the disk (``files``) and at the account, with all its ``work``."""
    spec = read(wanted)
    with scanned(spec) if files else Spool() as spool:
        notices = Notices()
        async with opened(wanted.target, wanted.environ, notices) as cloud:
            with single():
                observed = await observe(spec, cloud.reader, spool, datetime.now(UTC), work=work)
            yield Session(wanted, spec, cloud, observed, notices)


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
