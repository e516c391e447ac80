"""The embedded Batch service and its blob store: start, look, stop.

This is all that the rest of batchspec sees of it, and what a program of yours can use. It imports
nothing of batchspec outside this package, and neither the web server nor the engine: those belong
to the daemon, which is a process of its own.

    endpoints = start()
    client = BatchClient(
        endpoints.batch_url, AzureNamedKeyCredential(endpoints.batch_account, endpoints.batch_key)
    )
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from batchspec.local.azurite.install import AzuriteStatus
from batchspec.local.azurite.install import azurite_status as _azurite_status
from batchspec.local.azurite.install import install as _install
from batchspec.local.azurite.nodejs import find_nodejs
from batchspec.local.daemon.endpoints import Endpoints, Format, env, variables
from batchspec.local.daemon.home import Home
from batchspec.local.daemon.start import start_daemon
from batchspec.local.daemon.status import State, Status, read_status
from batchspec.local.daemon.stop import reset_daemon, stop_daemon
from batchspec.local.error import LocalError
from batchspec.local.settings import Settings
from batchspec.local.simulation import NO_OPTIONS, Simulation, SimulationOptions
from batchspec.local.startup_phase import Notify, StartupPhase

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
    "azurite_status",
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
) -> Endpoints:
    """The local service, running and ready; it is started if it is not.

    ``data`` is the folder of the account: ``BATCHSPEC_LOCAL_HOME`` if it is not given, else one in
    the user's data folder. ``port`` is where the Batch service listens, 0 for the port of the last
    run or any that is free. Azurite is installed first if need be. Safe to be called by several
    processes at once: they get the same service.

    ``options`` set the speed of time and the injected faults: ``SimulationOptions(speed=60)``,
    ``SimulationOptions(chaos="bad-day", seed=7)``. The environment (``BATCHSPEC_LOCAL_SPEED`` ...)
    sets those that are ``None``.

    Raises:
        LocalError: it cannot be installed or started, or it runs with other ``options``.
    """
    settings = _settings(data, options)
    wanted = settings.conditions if options else None
    return start_daemon(settings, port=port, notify=notify, wanted=wanted)


def status(data: Path | None = None) -> Status:
    """How it is with the service of ``data``. Changes nothing.

    Raises:
        LocalError: the folder cannot be read.
    """
    return read_status(_home(data))


def stop(data: Path | None = None, *, notify: Notify = _ignore) -> bool:
    """End the service of ``data``, the processes of its tasks and Azurite, without losing anything.

    Returns when they are gone; whether there were any.

    Raises:
        LocalError: it could not be ended.
    """
    return stop_daemon(_home(data), notify=notify)


def reset(data: Path | None = None, *, notify: Notify = _ignore) -> None:
    """End the service of ``data`` and delete its pools, jobs, tasks and blobs. The keys stay.

    Raises:
        LocalError: it could not be ended, or something could not be deleted.
    """
    reset_daemon(_home(data), notify=notify)


def install(*, notify: Notify = _ignore) -> Path:
    """Install Azurite ahead of its first use, and return its folder. Needs the npm registry once.

    Raises:
        LocalError: there is no Node.js, or npm cannot install it.
    """
    settings = _settings(None)
    return _install(
        find_nodejs(settings),
        settings.cache,
        search_path=settings.path,
        environ=dict(os.environ),
        notify=notify,
    ).folder


def azurite_status() -> AzuriteStatus:
    """The Node.js and the Azurite that the local service uses. Changes nothing.

    Raises:
        LocalError: something is missing; the hint says how to get it.
    """
    return _azurite_status(_settings(None))


def _settings(data: Path | None, options: SimulationOptions = NO_OPTIONS) -> Settings:
    if sys.platform == "win32":
        raise LocalError(
            "unsupported-platform",
            "The local service does not run on Windows.",
            hint="Use it in WSL, or choose --target azure",
        )
    return Settings.read(os.environ, data=data, options=options)


def _home(data: Path | None) -> Home:
    return Home(_settings(data).data)
