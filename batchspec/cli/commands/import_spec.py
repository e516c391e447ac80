"""``batchspec import``: a spec from the files of another tool, or from a live pool or job."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from batchspec.cli.commands.schema import MODELINE, SCHEMA_FILE
from batchspec.cli.completion import complete_job, complete_pool
from batchspec.cli.console import ConsoleNotices, out, out_document, show_diagnostics
from batchspec.cli.options import TargetOption, run_options
from batchspec.diagnostics import Diagnostic, SpecError, UsageError
from batchspec.exit_codes import Exit

if TYPE_CHECKING:
    from batchspec.api import Target
    from batchspec.importers import Draft

_SUFFIXES = (".json", ".yaml", ".yml")


async def import_(
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[FILE...]",
            help="A JSON file of `az batch`, a template of its extensions, or the folder or files "
            "of batch-shipyard.",
        ),
    ] = None,
    job: Annotated[
        str,
        typer.Option(
            "--job",
            metavar="ID",
            autocompletion=complete_job,
            help="The job to import, from the account or from the files.",
        ),
    ] = "",
    pool: Annotated[
        str,
        typer.Option(
            "--pool",
            metavar="ID",
            autocompletion=complete_pool,
            help="The pool to import from the account.",
        ),
    ] = "",
    name: Annotated[str, typer.Option("--name", metavar="NAME", help="The name of the spec.")] = "",
    target_file: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="SPEC",
            help="Write the spec to this file instead of standard output.",
        ),
    ] = None,
    target: TargetOption = None,
) -> int:
    """Write a spec from files of another tool, or from a live pool or job.

    Comments in the spec name what was not imported.
    """
    from batchspec.importers import import_documents

    paths = [path for each in files or () for path in _documents(each)]
    if paths and pool:
        raise _refusal("files and a live pool cannot be combined", "Leave `--pool` out.")
    if paths:
        draft = import_documents(paths, job=job)
        origin = ", ".join(path.name for path in paths)
    elif job or pool:
        draft = await _live(pool, job, target)
        origin = " and ".join(
            part for part in (pool and f"pool {pool}", job and f"job {job}") if part
        )
    else:
        raise _refusal(
            "there is nothing to import", "Name a file or folder, `--job ID` or `--pool ID`."
        )
    if name:
        draft.name = name
    text = draft.text(origin)
    if target_file is None:
        out_document(text.rstrip("\n"))
        return Exit.DONE
    return _written(target_file, text)


def _written(path: Path, text: str) -> int:
    """Write the spec and the schema next to it, and show the problems that `validate` finds."""
    from batchspec.api import check_spec
    from batchspec.render import folder_unwritable, spec_imported
    from batchspec.spec import schema_text

    schema = path.with_name(SCHEMA_FILE)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(f"{MODELINE}#\n{text}")
        if not schema.exists():
            schema.write_text(schema_text(), encoding="utf-8")
    except FileExistsError:
        raise _refusal(
            f"the file {path} exists", "Choose another file with `-o`, or remove this one."
        ) from None
    except OSError as error:
        raise UsageError(folder_unwritable(path.parent, error.strerror or str(error))) from None
    try:
        _, found = check_spec(run_options(path, None, None))
    except SpecError as error:
        found = error.problems
    # A value is given when the spec is applied.
    problems = [each for each in found if each.code != "missing-variable"]
    if problems:
        show_diagnostics(problems)
    out(spec_imported(path, values_missing=len(problems) < len(found)))
    return Exit.DONE


def _documents(path: Path) -> Iterator[Path]:
    """A file, or the YAML and JSON files of a folder."""
    if not path.is_dir():
        yield path
        return
    found = sorted(each for each in path.iterdir() if each.suffix.lower() in _SUFFIXES)
    if not found:
        raise _refusal(f"the folder {path} has no YAML or JSON files", "Name the files themselves.")
    yield from found


async def _live(pool: str, job: str, target: Target | None) -> Draft:
    """A draft from a pool, a job and its tasks in the account.

    Raises:
        UsageError: one of them does not exist.
    """
    import os

    from batchspec.api import open_target
    from batchspec.importers import import_bodies
    from batchspec.spec import Record, thaw

    def plain(body: Record) -> dict[str, object]:
        found = thaw(body, lambda text: text.shown)
        assert isinstance(found, dict)
        return found

    async with open_target(target, os.environ, ConsoleNotices()) as cloud:
        live_pool = await cloud.pools.get(pool) if pool else None
        live_job = await cloud.jobs.get(job) if job else None
        for kind, wanted, found in (("pool", pool, live_pool), ("job", job, live_job)):
            if wanted and found is None:
                raise _refusal(
                    f"the account has no {kind} {wanted!r}",
                    "`batchspec list` shows what batchspec created; the portal shows everything.",
                )
        tasks = [plain(body) async for body in cloud.tasks.list_bodies(job)] if job else []
    return import_bodies(
        # The id differs from the original, which the spec would otherwise have to adopt.
        f"{job or pool}-imported",
        plain(live_pool.properties) if live_pool else None,
        plain(live_job.properties) if live_job else None,
        tasks,
    )


def _refusal(summary: str, fix: str) -> UsageError:
    return UsageError(Diagnostic("command-line", summary, fix=fix))
