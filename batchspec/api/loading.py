"""Loads a spec and its files. Sends no request."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeAlias

from batchspec.api.options import RunOptions
from batchspec.diagnostics import (
    Diagnostic,
    Diagnostics,
    KeyVaultSecret,
    Secret,
    Severity,
    SpecError,
    UsageError,
    conceal,
)
from batchspec.observe import FileCache, Spool, Working, scan, silent
from batchspec.spec import FlawedSpecError, Spec, ValueSources, read_spec

OnLoaded: TypeAlias = Callable[[Spec], None]
"""Called with a spec as soon as it is read."""

_FILE_CACHE = Path(".batchspec", "files.sqlite3")
"""The cache for all specs of a folder."""


def _ignore(_: Spec) -> None:
    pass


def load_spec(
    options: RunOptions,
    *,
    needs_secrets: bool = False,
    on_loaded: OnLoaded = _ignore,
    working: Working = silent,
) -> Spec:
    """The checked spec. Every later output redacts its secret parameters.

    Secret parameters need a value only if ``needs_secrets``: the operation submits tasks or creates
    resources. Plans and the identity of work do not depend on these values. With
    ``needs_secrets``, values in key vaults are read if the spec has no errors.

    Raises:
        SpecError: every error of the spec.
        UsageError: the file is a saved plan.
        SignInError, ServiceError: a key vault refused a value or could not be reached.
    """
    try:
        spec = _read(options, {}, needs_secrets)
    except SpecError:
        if (diagnostic := _saved_plan(options.path)) is not None:
            raise UsageError(diagnostic) from None
        raise
    references = {
        name: value.reference
        for name, value in spec.parameters.items()
        if isinstance(value, KeyVaultSecret)
    }
    if needs_secrets and references:
        from batchspec.cloud.key_vault import read_secrets

        working("reading secrets from key vaults")
        fetched = read_secrets(references, options.environ)
        conceal(*fetched.values())
        spec = _read(options, fetched, needs_secrets)
    if options.max_cost or (options.estimate and spec.cost is None):
        from batchspec.spec import with_estimate, with_max

        spec = with_max(spec, options.max_cost) if options.max_cost else with_estimate(spec)
    conceal(*(value for value in spec.parameters.values() if isinstance(value, Secret)))
    if spec.notify is not None and spec.notify.webhook is not None:
        conceal(spec.notify.webhook.url)
    on_loaded(spec)
    return spec


def value_sources(options: RunOptions, fetched: Mapping[str, Secret] | None = None) -> ValueSources:
    """The sources of parameter values; ``fetched`` are the values from key vaults."""
    return ValueSources(
        options.variables,
        options.variable_files,
        options.environ,
        options.read_value,
        fetched or {},
    )


def _read(options: RunOptions, fetched: Mapping[str, Secret], needs_secrets: bool) -> Spec:
    sources = value_sources(options, fetched)
    return read_spec(options.path, sources, needs_secrets=needs_secrets)


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
    options: RunOptions,
    *,
    needs_secrets: bool = False,
    on_loaded: OnLoaded = _ignore,
    working: Working = silent,
) -> Iterator[tuple[Spec, Spool]]:
    """The checked spec, and a spool that lists the files to upload.

    Raises:
        FlawedSpecError: every error of the spec and of its files: missing, unreadable, or two files
            for one blob.
        SpecError: the spec cannot be read, or is not YAML.
    """
    with Spool() as spool:
        yield _load(options, spool, needs_secrets, on_loaded, working), spool


def _load(
    options: RunOptions, spool: Spool, needs_secrets: bool, on_loaded: OnLoaded, working: Working
) -> Spec:
    """The checked spec; adds its files to ``spool``, even if the spec has errors."""
    problems = Diagnostics()
    try:
        spec = load_spec(options, needs_secrets=needs_secrets, on_loaded=on_loaded, working=working)
    except FlawedSpecError as error:
        problems.extend(error.problems)
        scan(error.containers, spool, problems, contents=False)
        raise FlawedSpecError(
            *problems.found, containers=error.containers, spec=error.spec
        ) from None
    containers = tuple(spec.containers.values())
    packages = (package.source for package in spec.packages.values())
    with FileCache(spec.path.parent / _FILE_CACHE) as cache:
        scan((*containers, *packages), spool, problems, cache=cache, working=working)
    if spec.packages:
        from batchspec.observe import bad_archives

        problems.extend(bad_archives(spec, spool))
    if problems.stops:
        raise FlawedSpecError(*problems.found, containers=containers, spec=spec)
    return spec


def check_spec(
    options: RunOptions, *, on_loaded: OnLoaded = _ignore, working: Working = silent
) -> tuple[Spec, tuple[Diagnostic, ...]]:
    """A spec, and the warnings about the spec, its files and its tasks.

    Raises:
        SpecError: every error, and the warnings.
        UsageError: the file is a saved plan.
    """
    with Spool() as spool:
        try:
            spec = _load(options, spool, False, on_loaded, working)
            working("checking the tasks")
            found = (*spec.warnings, *_findings(spec, spool))
        except SpecError as error:
            # A flawed spec has errors only in its files and in values of its properties.
            flawed = error.spec if isinstance(error, FlawedSpecError) else None
            more = _findings(flawed, spool, tasks=False) if flawed is not None else ()
            problems = tuple(dict.fromkeys((*error.problems, *more)))
            raise SpecError(*sorted(problems, key=_position)) from None
    if any(each.severity is Severity.ERROR for each in found):
        raise SpecError(*found)
    return spec, tuple(each for each in found if each.severity is Severity.WARNING)


def _findings(spec: Spec, spool: Spool, *, tasks: bool = True) -> tuple[Diagnostic, ...]:
    """The findings about a spec and its ``tasks`` that need no account."""
    from batchspec.plan import check_offline

    files = {key: spool.files(key) for key in spec.containers}
    return check_offline(spec, files, datetime.now(UTC), tasks=tasks)


def _position(problem: Diagnostic) -> tuple[bool, str, int, int]:
    """The sort key of a problem: its position; problems without a position are last."""
    where = problem.where
    return (True, "", 0, 0) if where is None else (False, where.file, where.line, where.column)
