"""Commands for the same spec and account, to print for the user."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from batchspec.cli.options import RunOptions
from batchspec.diagnostics import Secret
from batchspec.spec import Spec


def resume_command(options: RunOptions, spec: Spec, verb: str, *arguments: str) -> str:
    """``batchspec VERB SPEC ...`` with the options that select account and parameters.

    The value of a secret parameter is replaced by ``...``; the user has to enter it again.
    """
    command = ["batchspec", verb, str(options.path), *arguments, *_shared_options(options)]
    secrets = [
        f"--var {shlex.quote(name)}=..." for name, _ in _variables(options) if _secret(spec, name)
    ]
    for name, text in _variables(options):
        if not _secret(spec, name):
            command += ["--var", text]
    return " ".join([shlex.join(command), *secrets])


def _shared_options(options: RunOptions) -> Iterator[str]:
    if options.target is not None and not options.environ.get("BATCHSPEC_TARGET"):
        yield from ("--target", options.target.value)
    for file in options.variable_files:
        yield from ("--var-file", str(file))


def _variables(options: RunOptions) -> Iterator[tuple[str, str]]:
    """Each ``--var`` with the name of its parameter."""
    for text in options.variables:
        yield text.partition("=")[0].strip(), text


def _secret(spec: Spec, name: str) -> bool:
    return isinstance(spec.parameters.get(name), Secret)
