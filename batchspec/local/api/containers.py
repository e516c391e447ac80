"""Containers: whether this machine has any, and what of their settings is not shown."""

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


def without_passwords(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a pool's machines or of a task, as they are shown: registries without passwords.

    The service does so with every password that it is given.
    """
    shown = dict(settings)
    if "containerConfiguration" in shown:
        configuration = dict(shown["containerConfiguration"])
        if "containerRegistries" in configuration:
            registries = [_without(one) for one in configuration["containerRegistries"]]
            configuration["containerRegistries"] = registries
        shown["containerConfiguration"] = configuration
    if "registry" in shown.get("containerSettings", {}):
        container = shown["containerSettings"]
        shown["containerSettings"] = {**container, "registry": _without(container["registry"])}
    return shown


def _without(registry: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in registry.items() if name != "password"}
