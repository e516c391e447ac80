"""Containers: whether this machine has an engine for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from batchspec.local.agent.containers import NoEngineError
from batchspec.local.api.context import Context
from batchspec.local.wire.fault import absent

CONFIGURATION = "virtualMachineConfiguration/containerConfiguration"


def check_containers(context: Context, pool: Mapping[str, Any]) -> None:
    """Return when a pool of these settings asks for no containers, or there is an engine for them.

    Raises:
        Fault: ``NotImplemented``, with what the engines say.
    """
    machine = pool.get("virtualMachineConfiguration", {})
    if "containerConfiguration" not in machine:
        return
    try:
        context.containers.check()
    except NoEngineError as error:
        why = f"no container engine answers: {error}"
        raise absent(f"The property '{CONFIGURATION}' of a pool ({why})") from None
