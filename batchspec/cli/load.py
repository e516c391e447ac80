"""Loads a spec and its files with the options of a command. Sends no request."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from batchspec.cli.console import err
from batchspec.cli.options import RunOptions, variables_of
from batchspec.cli.resume_command import select
from batchspec.diagnostics import (
    Diagnostic,
    Diagnostics,
    MissingSecret,
    Secret,
    SpecError,
    UsageError,
    conceal,
)
from batchspec.observe import FileCache, Spool, scan
from batchspec.spec import FlawedSpecError, Spec, read_spec

_FILE_CACHE = Path(".batchspec", "files.sqlite3")
"""Beside a spec; for all specs of the folder."""


def load_spec(options: RunOptions, *, needs_secrets: bool = False) -> Spec:
    """The checked spec. From now on its secret parameters are redacted in every output.

    Secret parameters need a value only if ``needs_secrets``: the command submits tasks or creates
    resources. Nothing else depends on these values, neither plans nor the identity of work.

    Commands in messages are completed with ``options`` from now on.

    With ``BATCHSPEC_LOG=debug`` in the environment, requests are logged from now on.

    Raises:
        SpecError: every error of the spec.
        UsageError: the file is a saved plan.
    """
    select(options)
    try:
        spec = read_spec(
            options.path,
            variables=variables_of(options.variables),
            variable_files=options.variable_files,
            needs_secrets=needs_secrets,
        )
    except SpecError:
        if (diagnostic := _saved_plan(options.path)) is not None:
            raise UsageError(diagnostic) from None
        raise
    conceal(*(value for value in spec.parameters.values() if isinstance(value, Secret)))
    select(options, spec)
    if options.environ.get("BATCHSPEC_LOG", "").lower() == "debug":
        from batchspec.cli.run_folder import log_requests
        from batchspec.plan.receipt import receipt_path

        log_requests(receipt_path(spec.path, spec.name).parent)
    return spec


def note_missing_secrets(spec: Spec) -> None:
    """Print which secrets are not redacted in the output of tasks, since they have no value."""
    from batchspec.render.logs import unredacted_note

    values = spec.parameters.items()
    if names := [name for name, value in values if isinstance(value, MissingSecret)]:
        err(unredacted_note(names))


def _saved_plan(path: Path) -> Diagnostic | None:
    """The diagnostic for a file that is a saved plan instead of a spec."""
    from batchspec.plan import read_plan_file

    plan = read_plan_file(path)
    if plan is None:
        return None
    apply = f"batchspec apply {shlex.quote(str(path))}"
    return Diagnostic(
        "saved-plan",
        f"{path} is a saved plan; this command needs a spec",
        fix=f"Use its spec, {plan.spec}, or run the plan: `{apply}`",
    )


@contextmanager
def load_spec_and_files(
    options: RunOptions, *, needs_secrets: bool = False
) -> Iterator[tuple[Spec, Spool]]:
    """The checked spec, and a spool that lists the files to upload.

    Raises:
        FlawedSpecError: every error of the spec and of its files: missing, unreadable, or two files
            for one blob.
        SpecError: the spec cannot be read, or is not YAML.
    """
    problems = Diagnostics()
    with Spool() as spool:
        try:
            spec = load_spec(options, needs_secrets=needs_secrets)
        except FlawedSpecError as error:
            problems.extend(error.problems)
            scan(error.containers, spool, problems, contents=False)
            raise FlawedSpecError(
                *problems.found, containers=error.containers, spec=error.spec
            ) from None
        containers = tuple(spec.containers.values())
        with FileCache(spec.path.parent / _FILE_CACHE) as cache:
            scan(containers, spool, problems, cache=cache)
        if problems.stops:
            raise FlawedSpecError(*problems.found, containers=containers, spec=spec)
        yield spec, spool
