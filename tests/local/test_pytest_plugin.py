"""The pytest plugin, run by a separate pytest as in other projects."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import pytest

from batchspec.local.process import is_locked

pytest_plugins = ["pytester"]
ROOT = Path(__file__).parents[2]
TESTS = """
from azure.batch import BatchClient
from azure.core.credentials import AzureNamedKeyCredential
from azure.storage.blob import BlobServiceClient

def is_empty(account):
    credential = AzureNamedKeyCredential(account.batch_account, account.batch_key)
    with BatchClient(account.batch_url, credential) as batch:
        empty = list(batch.list_jobs()) == []
        batch.create_job({"id": "mine", "poolInfo": {"poolId": "p"}})
    with BlobServiceClient.from_connection_string(account.connection_string) as blobs:
        empty = empty and list(blobs.list_containers()) == []
        blobs.create_container("mine")
    return empty

def test_one(batch_account):
    assert is_empty(batch_account)

def test_another_finds_nothing_of_the_first(batch_account):
    assert is_empty(batch_account)

def test_that_fails(batch_account):
    raise RuntimeError
"""


@pytest.mark.usefixtures("azurite_installed")
def test_each_test_has_a_separate_account_that_ends_with_it(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    # pytester changes HOME; keep the cache, so that nothing is installed again.
    if "XDG_CACHE_HOME" not in os.environ:
        monkeypatch.setenv("XDG_CACHE_HOME", str(REAL_HOME / ".cache"))
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makepyfile(TESTS)
    ran = pytester.runpytest_subprocess("-p", "batchspec.local.pytest_plugin", "--basetemp=kept")
    ran.assert_outcomes(passed=2, failed=1)
    locks = list((pytester.path / "kept").glob("*/account/*.lock"))
    assert len(locks) >= 3
    assert not any(is_locked(lock) for lock in locks)


REAL_HOME = Path.home()
DAYS = """
import pytest

@pytest.mark.batch_chaos("spot,quota=0", seed=3)
@pytest.mark.batch_speed(60)
def test_marked(batch_account):
    day = batch_account.simulation
    assert (day.faults.text, day.faults.seed) == ("preempt=75%:10s,quota=0", 3)
    assert day.speed == 60

def test_not_marked(batch_account):
    day = batch_account.simulation
    assert (day.faults.text, day.faults.seed, day.speed) == ("busy=5%", 7, 1)

@pytest.mark.batch_chaos("bad-dya")
def test_badly_marked(batch_account):
    pass
"""


@pytest.mark.usefixtures("azurite_installed")
def test_marks_and_options_set_faults_and_speed(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "XDG_CACHE_HOME" not in os.environ:
        monkeypatch.setenv("XDG_CACHE_HOME", str(REAL_HOME / ".cache"))
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makepyfile(DAYS)
    options = ("--batch-chaos=busy=5%", "--batch-seed=7", "--strict-markers")
    ran = pytester.runpytest_subprocess("-p", "batchspec.local.pytest_plugin", *options)
    ran.assert_outcomes(passed=2, errors=1)
    ran.stdout.fnmatch_lines(["*The fault injection 'bad-dya' does not exist*"])


def test_pytest_discovers_the_plugin() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["entry-points"]["pytest11"] == {"batchspec": "batchspec.local.pytest_plugin"}
