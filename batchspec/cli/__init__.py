"""The command line: arguments in, an exit code out.

In: ``argv``, the environment, answers from a terminal. Out: text on standard output and error, the
record of a run next to its spec, and an exit code (:class:`batchspec.exit_codes.Exit`). The entry
point is :func:`batchspec.cli.main.main`, the commands are in :data:`batchspec.cli.main.app`, and
each command is a module of :mod:`batchspec.cli.commands` with its options and its body.

Not here: decisions (``plan``), requests (``cloud``), formatted output (``render``). This package
connects them. No other package imports typer, reads the environment or chooses the account. Modules
that ``--help`` imports load the other packages inside functions.
"""
