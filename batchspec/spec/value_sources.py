"""Where values of parameters come from: options, files, the environment and key vaults."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import TypeAlias
from urllib.parse import urlsplit

from batchspec.diagnostics import Diagnostic, Secret, nearest
from batchspec.frozen import frozen
from batchspec.spec.yaml_tree import Node

PREFIX = "BATCHSPEC_VAR_"
"""The start of the names of environment variables that set parameters."""

ReadValue: TypeAlias = Callable[[str, str], str]
"""Returns the value of a secret from its name and ``@FILE`` or ``-``; raises ``UsageError``."""


@frozen
class ValueSources:
    """Where values of parameters come from, beside their declarations.

    ``variables`` are texts, which are parsed by the declared type; ``files`` are YAML or JSON
    files. ``read`` reads what the texts ``@FILE`` and ``-`` of a secret stand for; without it, they
    are values. ``fetched`` are values of secrets that were read from a key vault.
    """

    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    files: Sequence[Path] = ()
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)
    read: ReadValue | None = None
    fetched: Mapping[str, Secret] = field(default_factory=dict)


def environment_variable(
    name: str, declared: Iterable[str], environ: Mapping[str, str]
) -> str | None:
    """The environment variable that sets a parameter; ``None``: no variable with a value.

    It is ``BATCHSPEC_VAR_`` and the name as it is declared, or in upper case if no other parameter
    has that name. An empty variable counts as not set: CI systems define one for an unset secret.
    """
    for variable in _variable_names(name, declared):
        if environ.get(variable):
            return variable
    return None


def _variable_names(name: str, declared: Iterable[str]) -> tuple[str, ...]:
    upper = name.upper()
    if upper == name or upper in declared:
        return (PREFIX + name,)
    return (PREFIX + name, PREFIX + upper)


def missing_value(
    name: str, node: Node, declared: Iterable[str], sources: ValueSources, *, secret: bool
) -> Diagnostic:
    """The error for a parameter without a value. For a secret, it names every way to give one."""
    if not secret:
        return Diagnostic(
            "missing-variable",
            f"the parameter `{name}` has no value and no default",
            where=node.name,
            fix=f"Set it with `--var {name}=VALUE`.",
        )
    variable = _variable_names(name, declared)[-1]
    return Diagnostic(
        "missing-variable",
        f"the secret parameter `{name}` has no value",
        _empty_or_similar(name, declared, sources.environ),
        where=node.name,
        fix=f"Set the environment variable {variable}; or pass `--var {name}=@FILE` (a file), "
        f"`--var {name}=-` (standard input, or a prompt on a terminal) or `--var-file FILE`; "
        "or declare it with `key_vault: https://VAULT.vault.azure.net/secrets/NAME`.",
    )


def _empty_or_similar(name: str, declared: Iterable[str], environ: Mapping[str, str]) -> str:
    """What of the environment explains that a parameter has no value."""
    for variable in _variable_names(name, declared):
        if variable in environ:
            return f"{variable} is empty, which counts as not set."
    given = [each for each in environ if each.startswith(PREFIX)]
    near = nearest(PREFIX + name, given)
    if near is None or any(near in _variable_names(other, declared) for other in declared):
        return ""
    return f"{near} is set, and the spec has no parameter of this name."


_VAULTS = ("vault.azure.net", "vault.azure.cn", "vault.usgovcloudapi.net")
"""The DNS suffixes of key vaults: the public cloud, China and US Government."""

_REFERENCE = re.compile(
    r"(https://[A-Za-z0-9-]+\.(?:" + "|".join(map(re.escape, _VAULTS)) + r")"
    r"|https?://(?:127\.0\.0\.1|localhost|\[::1\])(?::\d{1,5})?)"
    r"/secrets/[A-Za-z0-9-]{1,127}(?:/[A-Za-z0-9]{1,64})?/?"
)
"""The URL of a secret, which Key Vault calls its identifier; the version is optional. On the
loopback interface, it is one of an emulator."""


def is_reference(text: str) -> bool:
    """Whether a text is the URL of a secret in a key vault."""
    return _REFERENCE.fullmatch(text) is not None


def is_in_vault(text: str) -> bool:
    """Whether a text is a URL of anything in a key vault."""
    return _host(text).endswith(tuple(f".{suffix}" for suffix in _VAULTS))


_SECRET_PATH = re.compile(r"/secrets/[A-Za-z0-9-]{1,127}(?:/[A-Za-z0-9]{1,64})?/?")


def resembles_reference(text: str) -> bool:
    """Whether a text is the URL of a secret in a key vault except for its host."""
    return bool(_host(text)) and _SECRET_PATH.fullmatch(urlsplit(text.strip()).path) is not None


def _host(text: str) -> str:
    """The host of a URL; empty if a text is none."""
    try:
        url = urlsplit(text.strip())
        return (url.hostname or "") if url.scheme in {"http", "https"} else ""
    except ValueError:
        return ""
