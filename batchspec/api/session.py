"""A spec with its open account and what was observed in it: the input of a plan."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from batchspec import local
from batchspec.api.account import Notices, open_target
from batchspec.api.loading import load_spec, load_spec_and_files
from batchspec.api.options import RunOptions, Target
from batchspec.cloud import AccountClient
from batchspec.diagnostics import BatchspecError, Diagnostic, SpecError
from batchspec.observe import Spool, observe
from batchspec.plan.observed import Observed, Origin
from batchspec.spec import Rows, Spec

if TYPE_CHECKING:
    from batchspec.apply.events import Emit, Waiting

OpenTarget: TypeAlias = Callable[
    [Target | None, Mapping[str, str], Notices], AbstractAsyncContextManager[AccountClient]
]
"""Opens the account; :func:`~batchspec.api.account.open_target` except in tests."""

_USER_VARIABLES = ("LOGNAME", "USER", "LNAME", "USERNAME")
"""The variables that contain the user's name, in the order of :func:`getpass.getuser`."""


class Files(Enum):
    """Whether an operation reads the files that a spec uploads or takes rows from."""

    REQUIRED = auto()
    OPTIONAL = auto()
    """They may be on another machine."""
    UNUSED = auto()


@dataclass(slots=True)
class WaitRelay:
    """Passes all notices on; while a run is in progress, those of waits are events of it."""

    notices: Notices
    _emit: Emit | None = field(default=None, init=False)

    def loaded(self, spec: Spec) -> None:
        """Pass it on."""
        self.notices.loaded(spec)

    def starting(self, phase: local.StartupPhase) -> None:
        """Pass it on."""
        self.notices.starting(phase)

    def started(self, simulation: local.Simulation) -> None:
        """Pass it on."""
        self.notices.started(simulation)

    def working(self, subject: str, detail: str = "") -> None:
        """Pass it on."""
        self.notices.working(subject, detail)

    def waiting(self, wait: Waiting) -> None:
        """Pass it to the run, or on."""
        if self._emit is not None:
            self._emit(wait)
        else:
            self.notices.waiting(wait)

    @contextmanager
    def redirected(self, emit: Emit) -> Iterator[None]:
        """Pass waits to ``emit`` while a run is in progress."""
        self._emit = emit
        try:
            yield
        finally:
            self._emit = None


@dataclass(frozen=True, slots=True)
class Session:
    """A spec, the options it was loaded with, the client of its account, and observations.

    ``files``: the files of the spec were read. ``waits`` passes notices of waits to a run.
    """

    options: RunOptions
    spec: Spec
    cloud: AccountClient
    observed: Observed
    waits: WaitRelay
    files: bool = True


@asynccontextmanager
async def open_session(
    options: RunOptions,
    notices: Notices,
    *,
    files: Files = Files.REQUIRED,
    needs_secrets: bool = False,
    estimate: bool = False,
    pool_user: bool = False,
    open_target: OpenTarget = open_target,
) -> AsyncIterator[Session]:
    """Load the spec and observe the disk and the account with its tasks.

    With ``estimate`` also what the cost of a plan follows from, if the spec asks for one; with
    ``pool_user`` also a job of another spec on the pool.

    Without the files that are optional, blobs are not read either. ``needs_secrets``: see
    :func:`~batchspec.api.loading.load_spec`.

    Raises:
        SpecError: the spec or one of its files is wrong.
        UsageError: the spec is a saved plan, or the environment does not name the account.
        ServiceError: a service refused a request or could not be reached.
    """
    with _opened(options, files, needs_secrets, notices) as (spec, spool, found):
        waits = WaitRelay(notices)
        async with open_target(options.target, options.environ, waits) as cloud:
            with first_error():
                observed = await observe(
                    spec,
                    cloud,
                    spool,
                    work=found or files is Files.UNUSED,
                    pool_user=pool_user,
                    origin=origin_of(spec.path, options.environ),
                    working=notices.working,
                )
                if estimate and spec.cost is not None:
                    notices.working("reading prices")
                    from batchspec.api.prices import with_cost

                    observed = await with_cost(spec, observed, cloud)
            notices.working("comparing the spec with the account")
            yield Session(options, spec, cloud, observed, waits, found)


@contextmanager
def _opened(
    options: RunOptions, files: Files, needs_secrets: bool, notices: Notices
) -> Iterator[tuple[Spec, Spool, bool]]:
    """The spec, a spool, and whether it lists the files of the spec."""
    with ExitStack() as stack:
        if files is not Files.UNUSED:
            try:
                loaded = load_spec_and_files(
                    options,
                    needs_secrets=needs_secrets,
                    on_loaded=notices.loaded,
                    working=notices.working,
                )
                spec, spool = stack.enter_context(loaded)
            except SpecError:
                if files is Files.REQUIRED:
                    raise
            else:
                if files is Files.REQUIRED or _has_rows(spec):
                    yield spec, spool, True
                    return
        spec, spool = stack.enter_context(_without_files(options, needs_secrets, notices))
        yield spec, spool, False


def _has_rows(spec: Spec) -> bool:
    """Whether the files of rows exist."""
    rows = (stage.for_each for stage in spec.stages if isinstance(stage.for_each, Rows))
    return all(os.path.isfile(each.path) for each in rows)  # noqa: PTH113 - `Path.is_file` raises for long names


@contextmanager
def _without_files(
    options: RunOptions, needs_secrets: bool, notices: Notices
) -> Iterator[tuple[Spec, Spool]]:
    """The spec, and a spool for observations of the account."""
    with Spool() as spool:
        yield (
            load_spec(
                options,
                needs_secrets=needs_secrets,
                on_loaded=notices.loaded,
                working=notices.working,
            ),
            spool,
        )


@contextmanager
def first_error() -> Iterator[None]:
    """Raise the first ``BatchspecError`` of an exception group: it cancelled the other tasks."""
    try:
        yield
    except BaseExceptionGroup as group:
        own = group.subgroup(BatchspecError)
        if own is None:
            raise
        error: BaseException = own
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        raise error from None


async def no_run_of(spec: Spec, cloud: AccountClient) -> Diagnostic:
    """The error of an operation that needs a job of the spec, if the account has none."""
    from batchspec.plan import no_run

    scheduled = spec.job.schedule is not None
    return no_run(spec, await cloud.job_schedules.get(spec.job.id) if scheduled else None)


def origin_of(spec: Path, environ: Mapping[str, str]) -> Origin:
    """The user and host of this process, and a digest of the host and the spec's absolute path.

    Pools, jobs, schedules and containers record it in their metadata. ``BATCHSPEC_ORIGIN`` and the
    name of the spec's file replace the host and the path, where these differ from run to run.
    """
    host = platform.node() or "localhost"
    user = next((environ[name] for name in _USER_VARIABLES if environ.get(name)), "unknown")
    location = f"{host}\0{os.fspath(spec.resolve())}"
    if named := environ.get("BATCHSPEC_ORIGIN"):
        location = f"{named}\0{spec.name}"
    return Origin(f"{user}@{host}", hashlib.sha256(location.encode()).hexdigest()[:16])
