"""``batchspec ls`` and ``batchspec cat``: blobs of a run's containers, files of tasks and nodes."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from batchspec.cli.completion import complete_path
from batchspec.cli.console import (
    ConsoleNotices,
    err,
    note_missing_secrets,
    out,
    out_bytes,
    out_document,
)
from batchspec.cli.options import (
    Format,
    SpecFile,
    TargetOption,
    TextOrJson,
    VariableFiles,
    Variables,
    run_options,
)
from batchspec.exit_codes import Exit

if TYPE_CHECKING:
    from batchspec.cloud import AccountClient
    from batchspec.spec import Spec


async def ls(
    spec: SpecFile,
    path: Annotated[
        str | None,
        typer.Argument(
            metavar="[CONTAINER[/PREFIX]]",
            autocompletion=complete_path,
            help="A container (its name in the spec or its id) with a prefix of blob names; or a "
            "task or node (its id or a unique part of it) with a prefix of file names. "
            "[default: list the containers]",
            show_default=False,
        ),
    ] = None,
    target: TargetOption = None,
    variables: Variables = None,
    variable_files: VariableFiles = None,
    output_format: TextOrJson = Format.TEXT,
) -> int:
    """List the blobs of a container of the run, or the files of a task or node."""
    from batchspec.api import load_spec, open_target
    from batchspec.observe import find_source
    from batchspec.render import file_line, files_json

    options = run_options(spec, variables, variable_files, target)
    notices = ConsoleNotices(options)
    loaded = load_spec(options, on_loaded=notices.loaded)
    name, _, prefix = (path or "").partition("/")
    async with open_target(target, options.environ, notices) as cloud:
        if not name:
            return await _list_containers(loaded, cloud, output_format)
        source = await find_source(loaded, cloud, name)
        files = source.list(cloud, prefix)
        if output_format is Format.JSON:
            out_document(files_json(source, [file async for file in files]))
            return Exit.DONE
        found = False
        async for file in files:
            found = True
            out(file_line(file))
    if not found:
        err(f"no files in the {source.kind} {source.id}" + (f" below {prefix}" if prefix else ""))
    return Exit.DONE


async def _list_containers(spec: Spec, cloud: AccountClient, output_format: Format) -> int:
    from batchspec.observe import containers_of
    from batchspec.render import containers_json, containers_text

    found = [
        (key, container_id, await cloud.containers.get_metadata(container_id) is not None)
        for key, container_id in containers_of(spec)
    ]
    if output_format is Format.JSON:
        out_document(containers_json(found))
    else:
        for line in containers_text(found):
            out(line)
    return Exit.DONE


async def cat(
    spec: SpecFile,
    path: Annotated[
        str,
        typer.Argument(
            metavar="CONTAINER/BLOB",
            autocompletion=complete_path,
            help="A blob, or a file of a task or node, as `ls` lists them: output/result.csv, "
            "TASK/wd/result.csv, NODE/startup/stdout.txt.",
        ),
    ],
    target: TargetOption = None,
    variables: Variables = None,
    variable_files: VariableFiles = None,
) -> int:
    """Print a blob of a container of the run, or a file of a task or node."""
    from batchspec.api import load_spec, open_target
    from batchspec.observe import find_source
    from batchspec.render.logs import OutputRedactor

    options = run_options(spec, variables, variable_files, target)
    notices = ConsoleNotices(options)
    loaded = load_spec(options, on_loaded=notices.loaded)
    note_missing_secrets(loaded)
    name, _, file = path.partition("/")
    async with open_target(target, options.environ, notices) as cloud:
        source = await find_source(loaded, cloud, name)
        lines = OutputRedactor(shown=sys.stdout.isatty())
        async for data in source.read(cloud, file):
            out_bytes(lines(data))
        out_bytes(lines.end())
    return Exit.DONE
