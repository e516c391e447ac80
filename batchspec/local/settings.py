"""Settings of the service: folders, Node.js, limits of tasks, speed of time, injected faults.

The values come from options and from the environment, the rights of managed identities from a file
(:class:`IdentityRights`). This module reads no file, except a file of rules that ``chaos`` names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Self

import platformdirs

from batchspec.catalog import NODE_ALLOCATION, NODE_RELEASE
from batchspec.frozen import frozen
from batchspec.local.fault_injection import (
    NO_FAULTS,
    FaultInjection,
    format_duration,
    parse_duration,
    parse_fault_injection,
)
from batchspec.local.startup import LocalError

SPEED, ALLOCATION = "BATCHSPEC_LOCAL_SPEED", "BATCHSPEC_LOCAL_ALLOCATION"
CHAOS, SEED = "BATCHSPEC_LOCAL_CHAOS", "BATCHSPEC_LOCAL_SEED"
HTTPS = "BATCHSPEC_LOCAL_HTTPS"
AUTH = "BATCHSPEC_LOCAL_AUTH"
TASK_USERS = "BATCHSPEC_LOCAL_TASK_USERS"
FUSE = "BATCHSPEC_LOCAL_FUSE"

SUBSCRIPTION = "00000000-0000-0000-0000-000000000000"
RESOURCE_GROUP = "batchspec"
REGION = "local"
"""The location of the account in the control plane."""

MAX_SPEED = 3600.0
"""An hour per second. The processes of tasks run in real time and cannot follow a faster clock."""


@frozen
class SimulationOptions:
    """Options of the user; the environment sets those that are ``None``."""

    speed: float | None = None
    allocation: str | None = None
    chaos: str | None = None
    seed: int | None = None
    auth: str | None = None

    def __bool__(self) -> bool:
        """Whether any option is set."""
        options = (self.speed, self.allocation, self.chaos, self.seed, self.auth)
        return any(one is not None for one in options)


NO_OPTIONS = SimulationOptions()


@frozen
class Simulation:
    """The conditions under which a service runs.

    ``speed`` is the ratio of the service's time to real time; ``allocation`` is the service's time
    that passes before a new node starts. With ``entra_only``, both accounts accept Microsoft Entra
    ID only and refuse their keys and signatures made with the keys.
    """

    speed: float = 1.0
    allocation: timedelta = timedelta()
    faults: FaultInjection = NO_FAULTS
    entra_only: bool = False

    @property
    def release(self) -> timedelta:
        """The time that a node needs to leave a pool; zero in real time or without allocation."""
        return NODE_RELEASE if self.speed != 1 and self.allocation else timedelta()

    @classmethod
    def read(cls, environ: Mapping[str, str], options: SimulationOptions) -> Self:
        """The conditions in ``options``, and in ``environ`` where an option is not set.

        With a ``speed`` other than 1, the allocation of nodes by default takes as long as on Azure.

        Raises:
            LocalError: a value is not valid.
        """
        speed = options.speed
        if speed is None:
            speed = _parse_speed(environ.get(SPEED, ""))
        if not 1 <= speed <= MAX_SPEED:
            raise LocalError(
                "speed-unreadable",
                f"The speed {speed:g} is out of range.",
                fix=f"Set a speed from 1 to {MAX_SPEED:g}.",
            )
        text = environ.get(ALLOCATION, "") if options.allocation is None else options.allocation
        allocation = (
            _parse_allocation(text) if text else NODE_ALLOCATION if speed != 1 else timedelta()
        )
        seed = _parse_seed(environ.get(SEED, "")) if options.seed is None else options.seed
        named = environ.get(CHAOS, "") if options.chaos is None else options.chaos
        auth = environ.get(AUTH, "") if options.auth is None else options.auth
        return cls(speed, allocation, parse_fault_injection(named, seed), _parse_auth(auth))

    def options(self) -> tuple[str, ...]:
        """The conditions as options of the daemon."""
        return (
            f"--speed={self.speed!r}",
            f"--allocation={self.allocation_text}",
            f"--chaos={self.faults.text}",
            f"--seed={self.faults.seed}",
            f"--auth={self.auth}",
        )

    @property
    def auth(self) -> str:
        """The accepted authentication, as the value of the option."""
        return "entra" if self.entra_only else "keys"

    @property
    def allocation_text(self) -> str:
        """The allocation delay as text."""
        return format_duration(self.allocation)

    @property
    def text(self) -> str:
        """A summary of the conditions for the log."""
        time = f"{self.speed:g} times real time" if self.speed != 1 else "real time"
        parts = [time]
        if self.allocation:
            parts.append(f"allocation of a node: {self.allocation_text}")
        faults = self.faults
        parts.append(f"chaos: {faults.text} (seed {faults.seed})" if faults else "no chaos")
        if self.entra_only:
            parts.append("Microsoft Entra ID only")
        return "; ".join(parts)


REAL_TIME = Simulation()


def _parse_speed(text: str) -> float:
    try:
        return float(text) if text else 1.0
    except ValueError:
        raise LocalError(
            "speed-unreadable",
            f"{SPEED} is {text!r}, which is not a number.",
            fix=f"Set a speed from 1 to {MAX_SPEED:g}.",
        ) from None


def _parse_allocation(text: str) -> timedelta:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise LocalError(
            "allocation-unreadable",
            f"The allocation delay is not valid: {error}.",
            fix="Set a duration such as 0, 20s, 226s or 4m.",
        ) from error


def _parse_auth(text: str) -> bool:
    if text in {"", "keys", "entra"}:
        return text == "entra"
    raise LocalError(
        "auth-unreadable",
        f"The authentication {text!r} is neither keys nor entra.",
        fix=f"Set --auth or {AUTH} to keys or entra.",
    )


def _parse_seed(text: str) -> int:
    try:
        return int(text) if text else 0
    except ValueError:
        raise LocalError(
            "chaos-unreadable",
            f"{SEED} is {text!r}, which is not a number.",
            fix="Set a whole number.",
        ) from None


MEMORY, PROCESSES = "BATCHSPEC_LOCAL_TASK_MEMORY", "BATCHSPEC_LOCAL_TASK_PROCESSES"
_SIZE = re.compile(r"(\d{1,15})([KMGT]?)", re.ASCII | re.IGNORECASE)


@frozen
class Limits:
    """Limits of a task: memory in bytes and number of processes; ``None`` means no limit."""

    memory: int | None = None
    processes: int | None = None

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> Self:
        """The limits in ``environ``; a size may have the suffix ``K``, ``M``, ``G`` or ``T``.

        Raises:
            LocalError: a value is not a positive number.
        """
        processes = environ.get(PROCESSES, "")
        return cls(
            memory=_read(MEMORY, environ.get(MEMORY, "")),
            processes=_read(PROCESSES, processes, units=False),
        )


NO_LIMITS = Limits()


def _read(name: str, text: str, *, units: bool = True) -> int | None:
    if not text:
        return None
    found = _SIZE.fullmatch(text)
    value = int(found[1]) << 10 * " KMGT".index(found[2].upper() or " ") if found else 0
    if found is None or value < 1 or (found[2] and not units):
        example = "4G" if units else "100"
        raise LocalError(
            "limit-unreadable",
            f"{name} is {text!r}, which is not a valid limit.",
            fix=f"Set {name} to a number such as {example}, or unset it for no limit.",
        )
    return value


@frozen
class TrustFiles:
    """Files by which clients trust the certificate of the services, in PEM format.

    ``authority`` is the certificate of the issuer. ``bundle`` contains it together with all
    authorities that this system trusts.
    """

    authority: Path
    bundle: Path

    def variables(self) -> dict[str, str]:
        """The environment variables that make clients trust the certificate.

        In order, their readers are: OpenSSL, Go and .NET; requests, which the Azure CLI uses; curl;
        Node.js. All but the last replace the list of the system.
        """
        names = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")
        return dict.fromkeys(names, str(self.bundle))


@frozen
class Settings:
    """The settings of an embedded service.

    ``data`` is the folder of its state, ``cache`` the folder of downloads, ``node`` the Node.js
    executable from ``BATCHSPEC_NODE``, ``path`` the search path for another Node.js. ``limits``
    apply to every task; ``simulation`` sets the speed of time and the injected faults. With
    ``https`` the services also listen on https ports. Without ``task_users``, tasks run as the user
    of the service, even if that user is root. Without ``fuse``, nodes do not mount FUSE file
    systems.
    """

    data: Path
    cache: Path
    node: Path | None
    path: str
    limits: Limits = NO_LIMITS
    simulation: Simulation = REAL_TIME
    https: bool = False
    task_users: bool = True
    fuse: bool = True

    @classmethod
    def read(
        cls,
        environ: Mapping[str, str],
        *,
        data: Path | None = None,
        options: SimulationOptions = NO_OPTIONS,
        https: bool = False,
    ) -> Self:
        """The settings in ``environ``; ``data``, ``options`` and ``https`` take precedence.

        Raises:
            LocalError: a value is not valid.
        """
        if data is None:
            named = environ.get("BATCHSPEC_LOCAL_HOME")
            data = Path(named) if named else platformdirs.user_data_path("batchspec") / "local"
        node = environ.get("BATCHSPEC_NODE")
        return cls(
            data=data.expanduser().absolute(),
            cache=platformdirs.user_cache_path("batchspec"),
            node=Path(node).expanduser() if node else None,
            path=environ.get("PATH", ""),
            limits=Limits.read(environ),
            simulation=Simulation.read(environ, options),
            https=https or _parse_switch(HTTPS, environ.get(HTTPS, "")),
            task_users=_parse_switch(TASK_USERS, environ.get(TASK_USERS) or "1"),
            fuse=_parse_switch(FUSE, environ.get(FUSE) or "1"),
        )


def _parse_switch(name: str, text: str) -> bool:
    if text.lower() in {"1", "true", "yes", "on"}:
        return True
    if text.lower() in {"", "0", "false", "no", "off"}:
        return False
    message, fix = f"{name} is {text!r}, which is neither 1 nor 0.", f"Set {name} to 1 or 0"
    if name == HTTPS:
        raise LocalError("https-unreadable", message, fix=fix)
    if name == FUSE:
        raise LocalError("fuse-unreadable", message, fix=fix)
    raise LocalError("task-users-unreadable", message, fix=fix)


_IDENTITY = re.compile(r"([\w.-]{1,128})\s*=\s*(.*)", re.ASCII)
_RIGHT = re.compile(r"(\*|[a-z0-9$][a-z0-9-]{0,62})\s*:\s*(read|write)", re.ASCII)


@frozen
class IdentityRights:
    """The rights of managed identities to read and write containers.

    A user registers them in a file with one identity per line::

        # NAME = CONTAINER:RIGHT, ...
        reader = inputs:read, results:write
        admin = *:write

    ``rights`` maps the name of each identity, in lower case, to its containers, and each container
    to true if the identity may also write. The container ``*`` stands for all containers. If
    ``rights`` is ``None``, no rights are registered and every identity has full access.
    """

    rights: Mapping[str, Mapping[str, bool]] | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """The rights in the text of a file.

        Raises:
            ValueError: a line is not valid; the message contains its number.
        """
        found: dict[str, Mapping[str, bool]] = {}
        for number, line in enumerate(text.splitlines(), 1):
            content = line.partition("#")[0].strip()
            if not content:
                continue
            match = _IDENTITY.fullmatch(content)
            if match is None:
                raise ValueError(f"line {number} is not 'NAME = CONTAINER:RIGHT, ...'")
            rights: dict[str, bool] = {}
            for part in filter(None, map(str.strip, match[2].split(","))):
                right = _RIGHT.fullmatch(part)
                if right is None:
                    raise ValueError(
                        f"line {number}: {part!r} is not CONTAINER:read or CONTAINER:write"
                    )
                rights[right[1]] = rights.get(right[1], False) or right[2] == "write"
            found[match[1].lower()] = rights
        return cls(found)

    def allow(self, resource_id: str, container: str, *, write: bool) -> bool:
        """Whether an identity may read a container, or ``write`` to it."""
        if self.rights is None:
            return True
        mine = self.rights.get(resource_id.rpartition("/")[2].lower(), {})
        named = [mine[name] for name in ("*", container) if name in mine]
        return any(named) if write else bool(named)


FULL_ACCESS = IdentityRights()
