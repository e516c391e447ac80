"""A command as the user would type it for the same spec on the same account."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from batchspec.cli.options import Wanted
from batchspec.diagnostics import Secret
from batchspec.spec import Spec


def command_for(wanted: Wanted, spec: Spec, verb: str, *more: str) -> str:
    """``batchspec VERB SPEC ...`` with the options that choose account and parameters.

    The value of a secret parameter is left out: it is for the user to give again.
    """
    words = ["batchspec", verb, str(wanted.path), *more, *_options(wanted)]
    hidden = [
        f"--var {shlex.quote(name)}=..."
        for name in _names(wanted)
        if isinstance(spec.parameters.get(name), Secret)
    ]
    return " ".join([shlex.join([*words, *_shown(wanted, spec)]), *hidden])


def _options(wanted: Wanted) -> Iterator[str]:
    if wanted.target is not None and not wanted.environ.get("BATCHSPEC_TARGET"):
        yield from ("--target", wanted.target.value)
    for file in wanted.variable_files:
        yield from ("--var-file", str(file))


def _names(wanted: Wanted) -> Iterator[str]:
    for text in wanted.variables:
        yield text.partition("=")[0].strip()


def _shown(wanted: Wanted, spec: Spec) -> Iterator[str]:
    for text, name in zip(wanted.variables, _names(wanted), strict=True):
        if not isinstance(spec.parameters.get(name), Secret):
            yield from ("--var", text)
