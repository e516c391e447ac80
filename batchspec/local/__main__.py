"""``python -m batchspec.local serve``: the daemon. Started by ``batchspec.local.start``.

Without ``--detach`` it stays in the foreground, logs to standard error and ends with Ctrl-C.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from dataclasses import replace
from pathlib import Path

from batchspec.local.daemon import ReadinessReporter
from batchspec.local.daemon.serve import run_daemon
from batchspec.local.settings import Settings, SimulationOptions
from batchspec.local.startup import LocalError


def main(arguments: list[str]) -> int:
    """Run the daemon; return 1 if it cannot start or ends with an error, else 0."""
    given = _parser().parse_args(arguments)
    if given.detach and os.fork():
        # The parent exits, so that the starting process does not have to wait for the child.
        return 0
    logging.basicConfig(
        format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.INFO
    )
    options = SimulationOptions(given.speed, given.allocation, given.chaos, given.seed, given.auth)
    try:
        settings = Settings.read(os.environ, data=given.data, options=options, https=given.https)
        settings = replace(
            settings, cache=given.cache or settings.cache, node=given.node or settings.node
        )
        run_daemon(settings, port=given.port, reporter=ReadinessReporter(given.report))
    except LocalError as error:
        log = logging.getLogger(__name__)
        log.error("%s: %s %s", error.code, error.summary, error.fix)  # noqa: TRY400  not a bug
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m batchspec.local", description=__doc__)
    serve = parser.add_subparsers(required=True).add_parser("serve")
    serve.add_argument("--data", type=Path, help="the data folder")
    serve.add_argument("--port", type=int, default=0, help="port of the Batch service; 0: any free")
    serve.add_argument("--cache", type=Path, help="folder in which Azurite is installed")
    serve.add_argument("--node", type=Path, help="path of Node.js")
    serve.add_argument("--speed", type=float, help="speed of the service's clock; 1 is real time")
    serve.add_argument("--allocation", help="allocation time of a node, such as 30s")
    serve.add_argument("--chaos", help="injected faults: a profile or a list of faults")
    serve.add_argument("--seed", type=int, help="seed of the injected faults")
    serve.add_argument("--auth", help="authentication that the accounts accept: keys or entra")
    serve.add_argument("--https", action="store_true", help="also listen on https ports")
    serve.add_argument("--detach", action="store_true", help="run in the background")
    serve.add_argument(
        "--report", type=int, help="file descriptor on which the service reports that it is ready"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
