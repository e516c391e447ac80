"""Quotas through azure-mgmt-batch from the control plane of the embedded service."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from batchspec.cloud.pipeline import LOGGER
from batchspec.pricing import RetailPrices
from tests.cli.conftest import MIXED, Inside, Workplace


@pytest.fixture
def on_azure(mixed: Workplace, tmp_path: Path) -> Inside:
    """A new spec on the account of the embedded service, which is used like an account of Azure."""
    variables = json.loads(mixed.run("local", "env", "--format", "json").out)
    (tmp_path / "mixed.yaml").write_text(MIXED, encoding="utf-8")
    (tmp_path / "new.yaml").write_text(MIXED.replace("mixed", "new"), encoding="utf-8")
    return Inside(tmp_path, mixed.home, {**mixed.environ, **variables})


def test_reading_commands_write_nothing(on_azure: Inside, caplog: pytest.LogCaptureFixture) -> None:
    commands = ["validate", "new.yaml"], ["status", "mixed.yaml"], ["plan", "new.yaml"], ["doctor"]
    with caplog.at_level(logging.DEBUG, LOGGER.name):
        for command in commands:
            done = on_azure.run(*command)
    assert done.code == 0, done.text
    assert {message.split()[0] for message in caplog.messages} == {"GET"}
    account = r"/providers/Microsoft.Batch/batchAccounts/\S+ -> 200"
    # One for the plan, one for doctor: the group is given, so that no account is searched for.
    assert len(re.findall(account, caplog.text)) == 2
    assert len(re.findall("virtualMachineSkus -> 200", caplog.text)) == 2
    assert "of 1,000,000 dedicated cores" in done.out


def test_a_pool_larger_than_the_quota(on_azure: Inside) -> None:
    spec = on_azure.folder / "new.yaml"
    text = spec.read_text(encoding="utf-8")
    spec.write_text(text.replace("nodes: 1\n", "nodes: 600000\n"), encoding="utf-8")
    done = on_azure.run("plan", "new.yaml")
    assert done.code == 0, done.text
    # The run of the fixture has a pool of one node.
    assert "the pool 'new' can get 499,999 of 600,000 dedicated nodes" in done.text
    assert "Cores of other pools: mixed 2" in done.text


def test_a_size_that_the_region_does_not_offer(on_azure: Inside) -> None:
    spec = on_azure.folder / "new.yaml"
    text = spec.read_text(encoding="utf-8")
    spec.write_text(text.replace("d2s_v5", "d2s_v99"), encoding="utf-8")
    done = on_azure.run("plan", "new.yaml")
    assert "[vm-size-not-offered]" in done.text
    assert "[vm-size-odd]" not in done.text


def test_without_a_subscription_a_plan_with_keys_sends_nothing_there(
    on_azure: Inside, caplog: pytest.LogCaptureFixture
) -> None:
    del on_azure.environ["AZURE_SUBSCRIPTION_ID"]
    with caplog.at_level(logging.DEBUG, LOGGER.name):
        done = on_azure.run("plan", "new.yaml")
    assert done.code == 0, done.text
    assert done.text.count("[account-not-read]") == 1
    assert "/subscriptions" not in caplog.text


def test_an_unchanged_pool_needs_no_quota(
    on_azure: Inside, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, LOGGER.name):
        done = on_azure.run("plan", "mixed.yaml")
    assert "mixed" in done.text
    assert "/pools/mixed -> 200" in caplog.text
    assert "/subscriptions" not in caplog.text


PLAIN = """\
version: 1
name: plain
pool: {vm_size: standard_d2s_v5, nodes: 1, image: ubuntu-24.04}
job: {max_wall_clock_time: 10m}
tasks: {say: {command: echo done, logs: false}}
cleanup: {job: always}
"""
RUN = ["jobs", "jobschedules/plain", "pools/plain", "supportedimages"]
"""The requests of every plan of a new run without containers, sorted."""
COUNTS = ["jobs", "jobschedules", "pools"]
"""The objects that count toward a quota."""
FACTS = ["batchAccounts", "pools", "virtualMachineSkus"]
"""The facts of the account: its quotas, their use by its pools, and the VM sizes."""


@pytest.mark.parametrize(
    ("target", "requests"), [("local", RUN), ("azure", sorted([*RUN, *COUNTS, *FACTS]))]
)
def test_a_spec_without_identity_packages_and_cost_sends_no_request_for_them(
    on_azure: Inside,
    target: str,
    requests: list[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(RetailPrices, "rows", None)
    (on_azure.folder / "plain.yaml").write_text(PLAIN, encoding="utf-8")
    with caplog.at_level(logging.DEBUG, LOGGER.name):
        done = on_azure.run("plan", "plain.yaml", "--target", target)
    assert done.code == 0, done.text
    sent = [_resource(message) for message in caplog.messages]
    assert sorted(sent) == requests


def _resource(message: str) -> str:
    """The resource in a line of the request log: its path, or the type in Resource Manager."""
    path = re.sub(r"^GET [^/]+/([^ ?]+).*", r"\1", message)
    if not path.startswith("subscriptions/"):
        return path
    return "batchAccounts" if "/batchAccounts/" in path else path.rpartition("/")[2]


OPTIONAL = (
    *("azure.mgmt.batch", "azure.identity", "msal", "batchspec.cloud.key_vault"),
    *("batchspec.api.prices", "batchspec.observe.cost", "batchspec.pricing.lookup"),
    "batchspec.render.cost",
)
"""Modules of the control plane, of sign-ins, key vaults, prices and costs."""


@pytest.mark.parametrize(
    ("command", "target", "loaded"),
    [("plan", "local", []), ("apply", "local", []), ("plan", "azure", ["azure.mgmt.batch"])],
)
def test_a_spec_without_identity_packages_and_cost_imports_nothing_for_them(
    on_azure: Inside, command: str, target: str, loaded: list[str]
) -> None:
    """The account facts of a plan on Azure are read with azure-mgmt-batch."""
    assert all(find_spec(name) for name in OPTIONAL)
    (on_azure.folder / "plain.yaml").write_text(PLAIN, encoding="utf-8")
    program = (
        "import sys\n"
        "from batchspec.cli.main import main\n"
        "try: code = main()\n"
        "except SystemExit as end: code = end.code\n"
        f"print(code or 0, sorted(sys.modules.keys() & set({OPTIONAL!r})), file=sys.stderr)\n"
    )
    line = [sys.executable, "-c", program, command, "plain.yaml", "--target", target]
    done = subprocess.run(
        line, cwd=on_azure.folder, env=on_azure.environ, text=True, capture_output=True, check=False
    )
    assert done.stderr.splitlines()[-1:] == [f"0 {loaded}"], done.stdout + done.stderr
