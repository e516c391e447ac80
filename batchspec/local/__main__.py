"""``python -m batchspec.local serve``: the daemon. Started by ``batchspec.local.start``.

By hand, without ``--detach``, it stays in the foreground, logs to standard error and ends with
Ctrl-C.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from dataclasses import replace
from pathlib import Path

from batchspec.local.daemon.readiness import ReadinessReporter
from batchspec.local.daemon.serve import run_daemon
from batchspec.local.error import LocalError
from batchspec.local.settings import Settings
from batchspec.local.simulation import SimulationOptions


def main(arguments: list[str]) -> int:
    """Run the daemon; the exit code is 1 if it could not be started or kept running."""
    asked = _parser().parse_args(arguments)
    if asked.detach and os.fork():
        # The child belongs to nobody, so that whoever started us never has to wait for it.
        return 0
    logging.basicConfig(
        format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.INFO
    )
    conditions = SimulationOptions(asked.speed, asked.allocation, asked.chaos, asked.seed)
    try:
        settings = Settings.read(os.environ, data=asked.data, options=conditions)
        settings = replace(
            settings, cache=asked.cache or settings.cache, node=asked.node or settings.node
        )
        run_daemon(settings, port=asked.port, reporter=ReadinessReporter(asked.report))
    except LocalError as error:
        log = logging.getLogger(__name__)
        log.error("%s: %s %s", error.code, error.summary, error.hint)  # noqa: TRY400  data, no bug
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m batchspec.local", description=__doc__)
    serve = parser.add_subparsers(required=True).add_parser("serve")
    serve.add_argument("--data", type=Path, help="the data folder")
    serve.add_argument("--port", type=int, default=0, help="where Batch listens; 0: any")
    serve.add_argument("--cache", type=Path, help="where Azurite is installed")
    serve.add_argument("--node", type=Path, help="the Node.js to use")
    serve.add_argument("--speed", type=float, help="how many times as fast time passes")
    serve.add_argument("--allocation", help="how long a node takes to come up")
    serve.add_argument("--chaos", help="what goes wrong")
    serve.add_argument("--seed", type=int, help="the seed of what goes wrong")
    serve.add_argument("--detach", action="store_true", help="go into the background")
    serve.add_argument("--report", type=int, help="a descriptor to say on that it is ready")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
