"""The entry point of ``batchspec`` and ``python -m batchspec``."""

import signal


def main() -> None:
    """Import and run the command line. Ctrl-C during the imports ends it without a traceback."""
    interruptible = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if interruptible:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from batchspec.cli.main import main as run_command  # noqa: PLC0415 - after the handler

    if interruptible:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    run_command()


if __name__ == "__main__":
    main()
