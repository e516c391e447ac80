"""The embedded Batch service and its blob store: start, status, stop.

This is the public interface, for batchspec and for other programs. The package imports nothing of
batchspec except ``autoscale``, ``catalog``, ``property_rules``, ``frozen`` and ``lazy_imports``.
The HTTP server and the engine run in the daemon, a separate process. Importing the package loads
neither of them, nor the modules that start the daemon.

    endpoints = start()
    client = BatchClient(
        endpoints.batch_url, AzureNamedKeyCredential(endpoints.batch_account, endpoints.batch_key)
    )
"""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from batchspec.lazy_imports import lazy_names
from batchspec.local.daemon import (
    Endpoints,
    Home,
    Requirements,
    State,
    Status,
    read_status,
    reset_daemon,
    start_daemon,
    stop_daemon,
)
from batchspec.local.settings import NO_OPTIONS, Settings, Simulation, SimulationOptions
from batchspec.local.startup import LocalError, Notify, StartupPhase

if TYPE_CHECKING:
    from batchspec.local.azurite import AzuriteStatus
    from batchspec.local.daemon import Format

__all__ = [
    "NO_OPTIONS",
    "AzuriteStatus",
    "Endpoints",
    "Format",
    "LocalError",
    "Notify",
    "Simulation",
    "SimulationOptions",
    "StartupPhase",
    "State",
    "Status",
    "api_versions",
    "azurite_status",
    "check_folder",
    "env",
    "install",
    "reset",
    "start",
    "status",
    "stop",
    "variables",
]


def _ignore(_: StartupPhase) -> None:
    pass


def start(
    data: Path | None = None,
    *,
    port: int = 0,
    notify: Notify = _ignore,
    options: SimulationOptions = NO_OPTIONS,
    https: bool = False,
) -> Endpoints:
    """Return the endpoints of the embedded service; start the service if it is not running.

    ``data`` is the data folder: by default ``BATCHSPEC_LOCAL_HOME``, or else a folder in the user's
    data folder. ``port`` is the port of the Batch service; 0 selects the port of the last run or
    any free port. Azurite is installed first if necessary. Several processes that call this at the
    same time get the same service.

    ``options`` set the speed of time and the injected faults: ``SimulationOptions(speed=60)``,
    ``SimulationOptions(chaos="bad-day", seed=7)``. The environment (``BATCHSPEC_LOCAL_SPEED`` ...)
    sets the options that are ``None``.

    With ``https`` the services also listen on https ports, with a certificate that they create; see
    ``Endpoints.https``.

    Raises:
        LocalError: the service cannot be installed or started, or it runs with other ``options`` or
            without ``https``.
    """
    settings = _settings(data, options, https=https)
    requirements = Requirements(port, settings.simulation if options else None, https)
    return start_daemon(settings, requirements, notify=notify)


def status(data: Path | None = None) -> Status:
    """The status of the service of ``data``. Changes nothing.

    Raises:
        LocalError: the folder cannot be read.
    """
    return read_status(_home(data))


def check_folder() -> None:
    """Check that the service could start with the data folder. Changes nothing.

    Raises:
        LocalError: it is not writable, belongs to another user, or its account is damaged.
    """
    _home(None).check()


def stop(data: Path | None = None, *, notify: Notify = _ignore) -> bool:
    """Stop the service of ``data``, the processes of its tasks and Azurite without loss of data.

    Returns when they have ended: true if any was running.

    Raises:
        LocalError: the service cannot be stopped.
    """
    return stop_daemon(_home(data), notify=notify)


def reset(data: Path | None = None, *, notify: Notify = _ignore) -> None:
    """Stop the service of ``data`` and delete its pools, jobs, tasks and blobs; keep its keys.

    Raises:
        LocalError: the service cannot be stopped, or a file cannot be deleted.
    """
    reset_daemon(_home(data), notify=notify)


def variables(endpoints: Endpoints, *, now: datetime | None = None) -> dict[str, str]:
    """Environment variables for clients of Batch and Storage, with the keys of both accounts.

    One of them is a SAS that is valid for 30 days from ``now``, by default the current time.
    """
    from batchspec.local import daemon  # noqa: PLC0415

    return daemon.variables(endpoints, now or datetime.now(UTC))


def env(endpoints: Endpoints, format: Format, *, now: datetime | None = None) -> str:  # noqa: A002
    """:func:`variables` as text in ``format``, one variable per line."""
    from batchspec.local import daemon  # noqa: PLC0415

    return daemon.env(endpoints, format, now or datetime.now(UTC))


def install(*, notify: Notify = _ignore) -> Path:
    """Install Azurite before its first use and return its folder. Needs the npm registry once.

    Raises:
        LocalError: Node.js is missing, or npm cannot install Azurite.
    """
    from batchspec.local import azurite  # noqa: PLC0415 - only an installation needs it

    settings = _settings(None)
    return azurite.install(
        azurite.find_nodejs(settings),
        settings.cache,
        search_path=settings.path,
        environ=dict(os.environ),
        notify=notify,
    ).folder


def api_versions() -> tuple[str, ...]:
    """The api-versions of Azure Batch that the embedded service accepts, oldest first."""
    # The client of a running service does not need the protocol.
    from batchspec.local.wire import VERSIONS  # noqa: PLC0415

    return VERSIONS


def azurite_status() -> AzuriteStatus:
    """The Node.js and the Azurite that the embedded service uses. Changes nothing.

    Raises:
        LocalError: Node.js or npm is missing; the fix shows how to install it.
    """
    from batchspec.local import azurite  # noqa: PLC0415 - as in `install`

    return azurite.azurite_status(_settings(None))


def _settings(
    data: Path | None, options: SimulationOptions = NO_OPTIONS, *, https: bool = False
) -> Settings:
    if sys.platform == "win32":
        raise LocalError(
            "unsupported-platform",
            "The embedded service does not run on Windows.",
            fix="Use WSL, or the account in Azure: --target azure",
        )
    return Settings.read(os.environ, data=data, options=options, https=https)


def _home(data: Path | None) -> Home:
    return Home(_settings(data).data)


__getattr__ = lazy_names(__name__, {"azurite": "AzuriteStatus", "daemon": "Format"})
