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

from batchspec.local.azurite.install import Engine, look_at_engine
from batchspec.local.azurite.install import install as _install
from batchspec.local.azurite.node import find_node
from batchspec.local.conditions import NOTHING_ASKED, Asked, Conditions
from batchspec.local.daemon.endpoints import Endpoints, Format, env, variables
from batchspec.local.daemon.home import Home
from batchspec.local.daemon.start import start_daemon
from batchspec.local.daemon.status import State, Status, look
from batchspec.local.daemon.stop import reset_daemon, stop_daemon
from batchspec.local.error import LocalError
from batchspec.local.phase import Notify, Phase
from batchspec.local.settings import Settings

__all__ = [
    "NOTHING_ASKED",
    "Asked",
    "Conditions",
    "Endpoints",
    "Engine",
    "Format",
    "LocalError",
    "Notify",
    "Phase",
    "State",
    "Status",
    "env",
    "install",
    "reset",
    "start",
    "status",
    "stop",
    "store_parts",
    "variables",
]


def _ignore(_: Phase) -> None:
    pass


def start(
    data: Path | None = None,
    *,
    port: int = 0,
    notify: Notify = _ignore,
    asked: Asked = NOTHING_ASKED,
) -> Endpoints:
    """The local service, running and ready; it is started if it is not.

    ``data`` is the folder of the account: ``BATCHSPEC_LOCAL_HOME`` if it is not given, else one in
    the user's data folder. ``port`` is where the Batch service listens, 0 for the port of the last
    run or any that is free. Azurite is installed first if need be. Safe to be called by several
    processes at once: they get the same service.

    ``asked`` says how fast its time passes and what goes wrong in it: ``Asked(speed=60)``,
    ``Asked(chaos="bad-day", seed=7)``; where it says nothing, the environment does
    (``BATCHSPEC_LOCAL_SPEED`` ...).

    Raises:
        LocalError: it cannot be installed or started, or it runs and not as it is ``asked`` to.
    """
    settings = _settings(data, asked)
    wanted = settings.conditions if asked else None
    return start_daemon(settings, port=port, notify=notify, wanted=wanted)


def status(data: Path | None = None) -> Status:
    """How it is with the service of ``data``. Changes nothing.

    Raises:
        LocalError: the folder cannot be read.
    """
    return look(_home(data))


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
        find_node(settings),
        settings.cache,
        search_path=settings.path,
        environ=dict(os.environ),
        notify=notify,
    ).folder


def store_parts() -> Engine:
    """What the local service is run with. Changes nothing.

    Raises:
        LocalError: something is missing; the hint says how to get it.
    """
    return look_at_engine(_settings(None))


def _settings(data: Path | None, asked: Asked = NOTHING_ASKED) -> Settings:
    if sys.platform == "win32":
        raise LocalError(
            "unsupported-platform",
            "The local service does not run on Windows.",
            hint="Use it in WSL, or choose --target azure",
        )
    return Settings.read(os.environ, data=data, asked=asked)


def _home(data: Path | None) -> Home:
    return Home(_settings(data).data)
