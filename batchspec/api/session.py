"""A session: a spec with its open account and the observations, which are the input of a plan.

This module selects the account, starts the embedded service if necessary, and opens the account.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from enum import Enum, auto
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeAlias

from batchspec import local
from batchspec.api.loading import load_spec, load_spec_and_files
from batchspec.api.options import RunOptions, Target
from batchspec.cloud import (
    AccountClient,
    AnyAccount,
    AzureAccount,
    LocalAccount,
    account_from,
    check_sign_in,
    is_readable_file,
    open_account,
)
from batchspec.diagnostics import (
    BatchspecError,
    Diagnostic,
    Secret,
    ServiceError,
    Severity,
    SpecError,
    UsageError,
    conceal,
)
from batchspec.observe import Spool, observe
from batchspec.plan.observed import Observed, Origin
from batchspec.spec import Rows, Spec

if TYPE_CHECKING:
    from batchspec.apply.events import Emit, Waiting

_AZURE_VARIABLES = ("AZURE_BATCH_ACCOUNT", "AZURE_BATCH_ENDPOINT")


class Notices(Protocol):
    """Receives what an operation reports outside a run: its progress and its waits."""

    def loaded(self, spec: Spec) -> None:
        """The spec is read, and its secrets are redacted in every output."""
        ...

    def starting(self, phase: local.StartupPhase) -> None:
        """The embedded service is being started."""
        ...

    def started(self, simulation: local.Simulation) -> None:
        """The embedded service runs, perhaps with another clock or with injected faults."""
        ...

    def working(self, subject: str, detail: str = "") -> None:
        """The present work and its progress: ``listing blobs of input``, ``2,000``."""
        ...

    def waiting(self, wait: Waiting) -> None:
        """A service delays requests, or no longer does."""
        ...


class NoNotices:
    """Ignores all notices."""

    def loaded(self, spec: Spec) -> None:
        """Ignore it."""

    def starting(self, phase: local.StartupPhase) -> None:
        """Ignore it."""

    def started(self, simulation: local.Simulation) -> None:
        """Ignore it."""

    def working(self, subject: str, detail: str = "") -> None:
        """Ignore it."""

    def waiting(self, wait: Waiting) -> None:
        """Ignore it."""


def select_target(target: Target | None, environ: Mapping[str, str]) -> Target:
    """``target`` if given, else azure if the environment names an account, else local."""
    if target is not None:
        return target
    named = any(environ.get(name) for name in _AZURE_VARIABLES)
    return Target.AZURE if named else Target.LOCAL


@asynccontextmanager
async def open_target(
    target: Target | None, environ: Mapping[str, str], notices: Notices
) -> AsyncIterator[AccountClient]:
    """The client of the selected account. The embedded service is started if necessary.

    Raises:
        UsageError: the environment names no Azure account, or only a part of one.
        SignInError: settings of the sign-in are wrong.
        ServiceError: the embedded service could not be started.
    """
    account: AnyAccount
    stopped: Callable[[], Diagnostic | None] = _never_stopped
    if select_target(target, environ) is Target.AZURE:
        account = azure_account(environ)
    else:
        endpoints = start_service(notices.starting)
        notices.started(endpoints.simulation)
        account = local_account(endpoints)
        stopped = partial(stopped_service, endpoints)
    notices.working(f"reading the account {account.names.batch}")
    secrets = (account.batch_key, account.blob_key, account.token)
    conceal(*(each for each in secrets if each is not None))
    async with open_account(account, notice=notices.waiting, stopped=stopped) as client:
        yield client


def _never_stopped() -> Diagnostic | None:
    """Services of Azure do not stop; they may be unreachable for a time."""
    return None


def stopped_service(endpoints: local.Endpoints) -> Diagnostic | None:
    """The error if the embedded service at ``endpoints`` has stopped; ``None`` while it runs.

    Raises:
        ServiceError: its folder cannot be read.
    """
    with service_errors():
        status = local.status(endpoints.data)
    if status.state in {local.State.STOPPED, local.State.STALE}:
        detail = f"log: {status.log}"
        if (failure := status.failure) is not None:
            return Diagnostic(
                "local-stopped",
                f"the embedded service has stopped because of an error [{failure.code}]",
                f"{failure.summary}\n{detail}",
                fix=f"{failure.fix or 'See the log.'}\nThen run the command again; it starts the"
                " service.",
            )
    elif status.endpoints is not None and status.endpoints.batch_url != endpoints.batch_url:
        detail = f"it was started again at {status.endpoints.batch_url}"
    else:
        return None
    return Diagnostic(
        "local-stopped",
        "the embedded service has stopped",
        detail,
        fix="Start it with `batchspec local start`, and run the command again.",
    )


class BlobStoreWatch:
    """Recognizes that the blob store of the embedded service ended while a run used it."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._before = _blob_store(target)

    def problem(self) -> Diagnostic | None:
        """A warning if another process runs the blob store now; ``None`` if the service ended."""
        now = _blob_store(self._target)
        if self._before is None or now is None or now == self._before or now[0] != self._before[0]:
            return None
        return Diagnostic(
            "azurite-restarted",
            "Azurite, the blob store of the embedded service, ended during this run and was"
            " restarted",
            detail="Containers and blobs of the 5 seconds before its end may be lost, also outputs"
            " of tasks that succeeded.",
            fix="`batchspec apply` creates and uploads them again, and repeats tasks"
            " without `results`.",
            severity=Severity.WARNING,
        )


def _blob_store(target: str) -> tuple[int | None, int | None] | None:
    """The pids of the embedded service and of its blob store."""
    if target != Target.LOCAL:
        return None
    try:
        status = local.status()
    except local.LocalError:
        return None
    return (status.pid, status.azurite_pid) if status.state is local.State.RUNNING else None


def azure_account(environ: Mapping[str, str]) -> AzureAccount:
    """The account that the environment names; without keys, its sign-in settings are checked.

    Raises:
        UsageError: the environment names no account, or only a part of one.
        SignInError: settings of the sign-in are wrong.
    """
    account = account_from(environ)
    if account.batch_key is None or account.blob_key is None:
        check_sign_in(environ, is_readable_file)
    return account


def local_account(endpoints: local.Endpoints) -> LocalAccount:
    """The account of the embedded service at these endpoints; without keys if it refuses them."""
    keys = not endpoints.simulation.entra_only
    return LocalAccount(
        batch_url=endpoints.batch_url,
        batch_account=endpoints.batch_account,
        batch_key=Secret(endpoints.batch_key) if keys else None,
        blob_url=endpoints.blob_url,
        blob_account=endpoints.blob_account,
        blob_key=Secret(endpoints.blob_key) if keys else None,
        token=Secret(endpoints.token),
    )


def start_service(
    notify: local.Notify,
    *,
    port: int = 0,
    options: local.SimulationOptions = local.NO_OPTIONS,
    https: bool = False,
) -> local.Endpoints:
    """The endpoints of the embedded service, which is started if it is not running.

    Raises:
        ServiceError: it could not be started.
    """
    with service_errors():
        return local.start(port=port, notify=notify, options=options, https=https)


_FIRST_WORD = re.compile(r"(A|Another|Other|The)\b")


def _phrase(sentence: str) -> str:
    """A sentence in the form of a summary: without a capital article and a final period."""
    return _FIRST_WORD.sub(lambda word: word[0].lower(), sentence, count=1).removesuffix(".")


@contextmanager
def service_errors() -> Iterator[None]:
    """Convert the errors of the embedded service, which does not import ``diagnostics``.

    Raises:
        UsageError: a setting of the service is invalid.
        ServiceError: any other error of the service.
    """
    try:
        yield
    except local.LocalError as error:
        lines = [f"| {line}" for line in error.lines]
        if error.log:
            lines.append(f"log: {error.log}")
        diagnostic = Diagnostic(error.code, _phrase(error.summary), "\n".join(lines), fix=error.fix)
        if error.code.endswith("-unreadable"):
            raise UsageError(diagnostic) from error
        raise ServiceError(diagnostic, code=error.code) from error


OpenTarget: TypeAlias = Callable[
    [Target | None, Mapping[str, str], Notices], AbstractAsyncContextManager[AccountClient]
]
"""Opens the account; :func:`~batchspec.api.session.open_target` except in tests."""

_USER_VARIABLES = ("LOGNAME", "USER", "LNAME", "USERNAME")
"""The variables that contain the user's name, in the order of :func:`getpass.getuser`."""


class Files(Enum):
    """Whether an operation reads the files that a spec uploads or takes rows from."""

    REQUIRED = auto()
    OPTIONAL = auto()
    """The files may be on another machine."""
    UNUSED = auto()


@dataclass(slots=True)
class WaitRelay:
    """Forwards all notices; while a run is in progress, notices of waits are events of the run."""

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
        """Forward it to the run, or to the notices."""
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
    """A spec, the options with which it was loaded, the client of its account, and observations.

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

    With ``estimate``, also read prices, if the spec requests an estimate. With ``pool_user``, also
    read jobs of other specs on the pool. If optional files are missing, blobs are not read either.
    ``needs_secrets``: see :func:`~batchspec.api.loading.load_spec`.

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
    """Whether all files of rows exist."""
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
    """Raise the first ``BatchspecError`` of an exception group; it cancelled the others."""
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


def _system_user() -> str:
    """The user of this process, for an environment without its name, as of cron or a container."""
    try:
        import pwd

        return pwd.getpwuid(os.getuid()).pw_name
    except (ImportError, KeyError):
        return "unknown"


def origin_of(spec: Path, environ: Mapping[str, str]) -> Origin:
    """The user and host of this process, and a digest of the host and the spec's absolute path.

    Pools, jobs, schedules and containers record it in their metadata. If ``BATCHSPEC_ORIGIN`` is
    set, its value and the file name of the spec replace the host and the path, for example if these
    differ from run to run.
    """
    host = platform.node() or "localhost"
    named_users = (environ[name] for name in _USER_VARIABLES if environ.get(name))
    user = next(named_users, None) or _system_user()
    location = f"{host}\0{os.fspath(spec.resolve())}"
    if named := environ.get("BATCHSPEC_ORIGIN"):
        location = f"{named}\0{spec.name}"
    return Origin(f"{user}@{host}", hashlib.sha256(location.encode()).hexdigest()[:16])
