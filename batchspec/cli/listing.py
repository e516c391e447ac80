"""What a group of commands says of itself: each command with its whole sentence."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup


class Listing(TyperGroup):
    """A group that does not break off what its commands do where a line ends."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the commands in two columns; a long sentence takes several lines."""
        named = {name: self.get_command(ctx, name) for name in self.list_commands(ctx)}
        with formatter.section("Commands"):
            formatter.write_dl(
                [
                    (name, made.get_short_help_str(limit=_WHOLE))
                    for name, made in named.items()
                    if made
                ]
            )


_WHOLE = 1000
"""Characters; no sentence is longer."""


def show_help(context: typer.Context) -> None:
    """For a group that was named without a command: what there is. The exit code is a misuse's.

    Raises:
        typer.Exit: there is no command to go on with.
    """
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(2)
