"""Record the requests of other clients, for `tests/interop/test_recorded_requests.py`.

    python tools/record_requests.py [NAME...]

Runs each client of `tests/interop` on an embedded service, and writes what it has sent to
`tests/interop/requests/NAME.jsonl`: one request per line, with the status of its reply. Repeated
polls, signatures, dates and ids of requests are left out. Clients are installed if needed,
which takes minutes for the Azure CLI and Airflow.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).parents[1]))

from batchspec.local.http import App
from batchspec.local.wire import Fault, Reply, Request
from tests.interop.conftest import (
    HERE,
    JAVASCRIPT_SDKS,
    PYTHON_SDKS,
    OtherClient,
    javascript_client,
    python_client,
    python_environment,
)
from tests.local.engines import running_with_engine
from tests.local.running import Service

REQUESTS = HERE / "requests"
HEADERS = ("accept", "content-type", "if-match", "if-none-match", "ocp-range")
"""The recorded headers, which affect the reply."""


@contextmanager
def recorded() -> Iterator[list[dict[str, Any]]]:
    """The requests to services of this process, each with the status of its reply."""
    found: list[dict[str, Any]] = []
    seen: set[str] = set()
    handle = App._handle

    async def note(app: App, handler: Any, request: Request, write: Any) -> tuple[Reply, bytes]:
        status = 0
        try:
            answer = await handle(app, handler, request, write)
            status = answer[0].status
        except Fault as fault:
            status = fault.status
            raise
        finally:
            line = _line(request, status)
            if (text := json.dumps(line)) not in seen:
                seen.add(text)
                found.append(line)
        return answer

    with patch.object(App, "_handle", note):
        yield found


def _line(request: Request, status: int) -> dict[str, Any]:
    headers = {name: request.headers[name] for name in HEADERS if name in request.headers}
    return {
        "method": request.method,
        "path": request.path,
        "query": dict(request.query),
        "headers": headers,
        "body": json.loads(request.body) if request.body else None,
        "status": status,
    }


def _ask(client: Callable[[], OtherClient], *arguments: str) -> Callable[[Service], None]:
    def run(service: Service) -> None:
        with tempfile.TemporaryDirectory() as home:
            made = client()
            environ = (*made.environ, ("HOME", home), ("AIRFLOW_HOME", home))
            ends = _Ends(service.url, service.account, service.key)
            OtherClient(made.command, environ).ask(ends, *arguments)  # type: ignore[arg-type]

    return run


class _Ends:
    """The addresses that a client needs."""

    def __init__(self, url: str, account: str, key: str) -> None:
        self.batch_url, self.batch_account, self.batch_key = url, account, key


_AZ = (
    "pool create --id p --vm-size standard_d2s_v3 --target-dedicated-nodes 1 --image "
    "canonical:ubuntu-24_04-lts:server --node-agent-sku-id",
    "pool list",
    "pool show --pool-id p --expand stats",
    "pool resize --pool-id p --target-dedicated-nodes 2",
    "pool set --pool-id p --metadata a=b",
    "pool autoscale enable --pool-id p --auto-scale-formula $TargetDedicatedNodes=1",
    "pool autoscale evaluate --pool-id p --auto-scale-formula $TargetDedicatedNodes=1",
    "pool autoscale disable --pool-id p",
    "pool supported-images list",
    "pool node-counts list",
    "node list --pool-id p",
    "job create --id j --pool-id p --metadata a=b",
    "job set --job-id j --priority 5",
    "job list --filter",
    "job show --job-id j --select id,state",
    "task create --job-id j --task-id t --command-line /bin/true",
    "task list --job-id j",
    "task show --job-id j --task-id t",
    "task file list --job-id j --task-id t",
    "job task-counts show --job-id j",
    "job disable --job-id j --disable-tasks requeue",
    "job enable --job-id j",
    "task stop --job-id j --task-id t",
    "task delete --job-id j --task-id t --yes",
    "job stop --job-id j",
    "job delete --job-id j --yes",
    "job-schedule list",
    "application summary list",
    "pool delete --pool-id p --yes",
)
_LAST = {_AZ[0]: "batch.node.ubuntu 24.04", "job list --filter": "state eq 'active'"}
"""Arguments with spaces."""


def _azure_cli(version: str) -> Callable[[Service], None]:
    def run(service: Service) -> None:
        name = f"azure-cli-{version}"
        python = python_environment(name, name, hashes=False)
        with tempfile.TemporaryDirectory() as home:
            environ = {
                "PATH": os.environ["PATH"],
                "AZURE_CONFIG_DIR": home,
                "AZURE_CORE_COLLECT_TELEMETRY": "0",
                "AZURE_BATCH_ENDPOINT": service.url,
                "AZURE_BATCH_ACCOUNT": service.account,
                "AZURE_BATCH_ACCESS_KEY": service.key,
            }
            for line in _AZ:
                words = [*line.split(), *([_LAST[line]] if line in _LAST else [])]
                command = [str(python), "-m", "azure.cli", "batch", *words]
                done = subprocess.run(
                    command, env=environ, cwd=home, capture_output=True, text=True, check=False
                )
                if done.returncode:
                    print(f"az batch {line}: {done.stderr.strip()[-300:]}", file=sys.stderr)

    return run


def clients() -> dict[str, Callable[[Service], None]]:
    """Each client: a function that uses a service with it."""
    extensions = "azure-batch-extensions-9.0.0"
    program = str(HERE / "python" / "extensions.py")
    airflow = str(HERE / "python" / "airflow_operator.py")
    return {
        **{f"azure-batch-{v}": _ask(partial(python_client, v), "run") for v in PYTHON_SDKS},
        **{f"javascript-{v}": _ask(partial(javascript_client, v), "run") for v in JAVASCRIPT_SDKS},
        extensions: _ask(
            lambda: OtherClient((str(python_environment(extensions, extensions)), program))
        ),
        "airflow-3.3.2": _ask(
            lambda: OtherClient(
                (str(python_environment("airflow-3.3.2", "airflow-3.3.2", hashes=False)), airflow)
            )
        ),
        **{f"azure-cli-{v}": _azure_cli(v) for v in ("2.58.0", "2.91.0")},
    }


def main() -> int:
    """Record the named clients, by default all."""
    known = clients()
    REQUESTS.mkdir(exist_ok=True)
    for name in sys.argv[1:] or known:
        with (
            tempfile.TemporaryDirectory() as folder,
            recorded() as found,
            running_with_engine(Path(folder, "b")) as service,
        ):
            known[name](service)
        text = "".join(json.dumps(line) + "\n" for line in found)
        (REQUESTS / f"{name}.jsonl").write_text(text, encoding="utf-8")
        print(f"{name}: {len(found)} requests")
    return 0


if __name__ == "__main__":
    sys.exit(main())
