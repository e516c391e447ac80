"""``batchspec config``: the spec as batchspec understands it."""

from __future__ import annotations

from batchspec.cli.options import Shape, Wanted, variables_of
from batchspec.cli.screen import out
from batchspec.spec import dump_document, expanded_document


def config(wanted: Wanted, shape: Shape) -> int:
    """Print the spec with parameters set and short forms expanded."""
    document = expanded_document(
        wanted.path,
        variables=variables_of(wanted.variables),
        variable_files=wanted.variable_files,
    )
    out(dump_document(document, shape.value).rstrip("\n"))
    return 0
