"""From the words of a command line to a spec and its files; no account is asked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from batchspec.cli.options import Wanted, variables_of
from batchspec.diagnostics import Diagnostic, Diagnostics, Secret, SpecError, UsageError, conceal
from batchspec.observe.disk import scan
from batchspec.observe.spool import Spool
from batchspec.plan.receipt import receipt_path
from batchspec.spec import Container, Spec, read_spec, read_uploads


def read(wanted: Wanted) -> Spec:
    """The spec, read and checked; its secrets are shown nowhere from now on.

    Raises:
        SpecError: all that is wrong with it.
        UsageError: it is no spec but a saved plan.
    """
    try:
        spec = read_spec(
            wanted.path,
            variables=variables_of(wanted.variables),
            variable_files=wanted.variable_files,
        )
    except SpecError:
        if (plan := _saved_plan(wanted.path)) is not None:
            raise UsageError(plan) from None
        raise
    conceal(*(value for value in spec.parameters.values() if isinstance(value, Secret)))
    if wanted.environ.get("BATCHSPEC_LOG", "").lower() == "debug":
        from batchspec.cli.request_log import log_requests  # noqa: PLC0415  (only for --debug)

        log_requests(receipt_path(spec.path, spec.name).parent)
    return spec


def _saved_plan(path: Path) -> Diagnostic | None:
    """What to say of a file that is a saved plan, where a spec was wanted."""
    from batchspec.plan.plan_file import read_plan_file  # noqa: PLC0415  (only when something is wrong)

    found = read_plan_file(path)
    if found is None:
        return None
    return Diagnostic(
        "saved-plan",
        f"{path} is a saved plan, and this command takes a spec",
        fix=f"Its spec is {found.spec}. `batchspec apply {path}` carries the plan out.",
    )


@contextmanager
def scanned(wanted: Wanted) -> Iterator[tuple[Spec, Spool]]:
    """The spec, read and checked, and a spool that holds the files that it uploads.

    Raises:
        SpecError: all that is wrong with the spec, and with its files: missing, unreadable, in
            each other's way.
    """
    problems = Diagnostics()
    with Spool() as spool:
        try:
            spec = read(wanted)
        except SpecError as error:
            problems.extend(error.problems)
            scan(_uploads(wanted), spool, problems, contents=False)
            raise SpecError(*problems.found) from None
        scan(spec.containers.values(), spool, problems)
        problems.raise_if_any()
        yield spec, spool


def _uploads(wanted: Wanted) -> tuple[Container, ...]:
    return read_uploads(
        wanted.path,
        variables=variables_of(wanted.variables),
        variable_files=wanted.variable_files,
    )
