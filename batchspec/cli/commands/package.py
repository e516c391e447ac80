"""``batchspec package``: the application packages of the account."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from batchspec.cli.command_line import CommandLine, show_help
from batchspec.cli.console import ConsoleNotices, agreed, out
from batchspec.cli.options import (
    Format,
    SpecFile,
    TargetOption,
    TextOrJson,
    VariableFiles,
    Variables,
    Yes,
    run_options,
)
from batchspec.diagnostics import Diagnostic, SpecError, UsageError
from batchspec.exit_codes import Exit

if TYPE_CHECKING:
    from batchspec.cloud import AccountClient
    from batchspec.plan.actions import UploadPackage

package_commands = CommandLine()
package_commands.callback()(show_help)

Application = Annotated[
    str, typer.Argument(metavar="NAME", help="The id of the application.", show_default=False)
]
Version = Annotated[
    str, typer.Argument(metavar="VERSION", help="The version to delete.", show_default=False)
]


@package_commands.command("list")
async def list_(target: TargetOption = None, output_format: TextOrJson = Format.TEXT) -> int:
    """List the applications of the account and their versions."""
    from batchspec.api import first_error, open_target

    async with open_target(target, os.environ, ConsoleNotices()) as cloud:
        with first_error():
            found = await cloud.applications.list()
    if output_format is Format.JSON:
        out(json.dumps({name: list(versions) for name, versions in found.items()}, indent=2))
        return Exit.DONE
    for name, versions in found.items():
        out(f"{name}  {', '.join(versions)}")
    if not found:
        out("no application packages")
    return Exit.DONE


@package_commands.command()
async def upload(
    spec: SpecFile,
    target: TargetOption = None,
    variables: Variables = None,
    variable_files: VariableFiles = None,
) -> int:
    """Upload the application packages of a spec that are missing in the account."""
    from batchspec.api import first_error, load_spec_and_files, open_target
    from batchspec.observe import packages_of
    from batchspec.plan import changed_packages, package_step
    from batchspec.plan.actions import UploadPackage

    options = run_options(spec, variables, variable_files, target)
    notices = ConsoleNotices(options)
    files = load_spec_and_files(options, on_loaded=notices.loaded, working=notices.working)
    with files as (loaded, spool):
        if not loaded.packages:
            raise UsageError(
                Diagnostic("no-packages", "the spec has no `packages`", where=loaded.place("name"))
            )
        async with open_target(target, options.environ, notices) as cloud:
            with first_error():
                found = await packages_of(loaded, cloud, spool, notices.working)
                problems = tuple(changed_packages(loaded, found))
                if problems:
                    raise SpecError(*problems)
                for name, facts in found.items():
                    step = package_step(loaded.packages[name], facts)
                    if isinstance(step.action, UploadPackage):
                        shown = partial(notices.working, f"uploading {step.subject}")
                        await _upload(step.action, cloud, shown)
                    out(f"{step.subject}: {'uploaded' if step.action else step.reason}")
    return Exit.DONE


async def _upload(action: UploadPackage, cloud: AccountClient, show: Callable[[str], None]) -> None:
    """Upload a package; ``show`` is called with the progress."""
    import asyncio

    from batchspec.apply import archive_of
    from batchspec.render import transferred

    sent = 0

    def moved(count: int) -> None:
        nonlocal sent
        sent += count
        show(transferred(sent, archive.size))

    show("building the archive")
    with archive_of(action) as build:
        archive = await asyncio.to_thread(build)
        await cloud.applications.upload_package(
            action.package, action.version, archive, action.content, moved
        )


@package_commands.command()
async def delete(
    name: Application, version: Version, yes: Yes = False, target: TargetOption = None
) -> int:
    """Delete a version of an application that no pool and no open job uses."""
    from batchspec.api import first_error, open_target
    from batchspec.observe import package_users

    async with open_target(target, os.environ, ConsoleNotices()) as cloud:
        with first_error():
            users = [user async for user in package_users(cloud, name, version)]
            if users:
                raise _used(name, version, users)
            question = f"Delete version {version} of application {name}?"
            if not agreed(f"{question} [y/N] ", yes=yes):
                return Exit.DONE
            existed = await cloud.applications.delete_package(name, version)
    if not existed:
        raise UsageError(
            Diagnostic(
                "no-package",
                f"the account has no version {version!r} of the application {name!r}",
                fix="`batchspec package list` lists the versions in the account.",
            )
        )
    out(f"deleted version {version} of application {name}")
    return Exit.DONE


def _used(name: str, version: str, users: list[str]) -> UsageError:
    shown, more = users[:3], len(users) - 3
    listed = ", ".join(shown) + (f" and {more} more" if more > 0 else "")
    return UsageError(
        Diagnostic(
            "package-used",
            f"version {version} of application {name} is in use: {listed}",
            fix="Delete them first, or let them end.",
        )
    )
