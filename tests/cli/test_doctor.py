"""One line for each check; `doctor` starts nothing."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from batchspec.diagnostics import Diagnostic
from batchspec.exit_codes import Exit
from batchspec.plan.capacity import AccountResource, Capacity, VmSize
from batchspec.plan.observed import PoolFacts, SupportedImage
from batchspec.render.doctor import (
    Check,
    Level,
    answer_check,
    as_warnings,
    checks_text,
    clock_check,
    engine_check,
    failed_check,
    images_check,
    python_check,
    quota_check,
    resource_check,
    signing_check,
    sizes_check,
    worst,
)
from batchspec.spec import Record
from tests.cli.conftest import Inside, Workplace
from tests.render import golden

GOLDEN = Path(__file__).parent / "golden"
NOW = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("ahead", "level", "words"),
    [
        ([timedelta(seconds=1), None], Level.OK, "correct"),
        ([timedelta(minutes=-3), timedelta(seconds=2)], Level.WARN, "3m 00s fast"),
        ([timedelta(minutes=16)], Level.FAIL, "16m 00s slow"),
        ([None, None], Level.WARN, "no service"),
    ],
)
def test_the_clock(ahead: list[timedelta | None], level: Level, words: str) -> None:
    check = clock_check(ahead)
    assert check.level is level
    assert words in check.message


def test_signatures_without_a_key() -> None:
    assert signing_check(None).level is Level.OK
    problem = Diagnostic("x", "user delegation key: your identity lacks it", fix="Assign a role")
    refused = signing_check(problem)
    assert refused.level is Level.WARN, "runs with `storage.identity` need none"
    assert "user delegation key" in refused.message
    assert refused.fix.startswith("Assign a role. ")


def image(sku: str, ends: datetime | None = None) -> SupportedImage:
    return SupportedImage("canonical", "ubuntu", sku, "agent", False, True, (), ends)


def test_the_text() -> None:
    checks = [
        python_check("Python 3.11.7", None),
        engine_check("/usr/bin/node", "3.37.0", installed=False),
        failed_check("account", Diagnostic("x", "AZURE_BATCH_ACCOUNT is not set", fix="Name it")),
        answer_check("batch", "https://a.batch.azure.com", 0.21, None, "2025-06-01"),
        answer_check("storage", "", 0.1, Diagnostic("x", "refused", "see sig=abc", fix="A\nb")),
        images_check([image("24.04"), image("20.04", NOW + timedelta(days=20))], NOW),
        quota_check("azure", 3, 1),
    ]
    assert worst(checks) is Level.FAIL
    assert worst(list(as_warnings(checks))) is Level.WARN
    golden.check("doctor.txt", checks_text(checks), GOLDEN)


RESOURCE = AccountResource(
    "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Batch/batchAccounts/acct",
    "westeurope",
    "Succeeded",
    public_access="Enabled",
    authentication=("AAD", "TaskAuthenticationToken"),
    storage="/subscriptions/s/resourceGroups/rg/providers/Microsoft.Storage/storageAccounts/stor",
    storage_authentication="StorageKeys",
    dedicated_cores=100,
    spot_cores=20,
    family_cores={"dsv5": 10, "dsv3": 90, "fsv2": 0},
    families_enforced=True,
    pools=100,
    jobs=300,
)


def test_the_text_about_the_resource() -> None:
    size = Record(vmSize="standard_d2s_v5")
    pool = PoolFacts("p", "active", "steady", size, {}, 2, 1, 3, 1)
    known = Capacity(RESOURCE, None, (pool,))
    other = replace(RESOURCE, user_subscription=True, dedicated_cores=None, spot_cores=None)
    other = replace(other, family_cores={}, state="Creating", authentication=())
    denied = Diagnostic("x", "your identity lacks the permission", fix="Assign the role")
    checks = [
        resource_check(known, keys=False),
        resource_check(known, keys=True),
        quota_check("azure", 3, 1, known),
        resource_check(Capacity(other), keys=True),
        quota_check("azure", 100, 1, Capacity(other)),
        quota_check("azure", 1, 1, Capacity(replace(RESOURCE, dedicated_cores=0, spot_cores=0))),
        resource_check(Capacity(problem=denied), keys=True),
        quota_check("azure", 1, 1, Capacity(problem=denied)),
    ]
    golden.check("doctor-resource.txt", checks_text(checks), GOLDEN)


def test_the_text_about_vm_sizes() -> None:
    sizes = {
        "standard_d2s_v5": VmSize("Standard_D2s_v5", "dsv5", 2, 8.0),
        "standard_nc6": VmSize("Standard_NC6", "nc", 6, 56.0, 1, ends=NOW + timedelta(days=30)),
    }
    names = {"a": "STANDARD_D2s_v5", "b": "standard_d2s_v5", "c": "Standard_NC6", "d": "gone"}
    pools = [
        PoolFacts(name, "active", "steady", Record(vmSize=size), {}, 0, 0, 0, 0)
        for name, size in names.items()
    ]
    checks = [
        sizes_check(Capacity(RESOURCE, sizes, tuple(pools[:2])), NOW),
        sizes_check(Capacity(RESOURCE, sizes, tuple(pools)), NOW),
        sizes_check(Capacity(RESOURCE), NOW),
    ]
    golden.check("doctor-sizes.txt", checks_text(checks), GOLDEN)


def test_an_account_without_images_fails_the_check() -> None:
    assert images_check([], NOW).level is Level.FAIL


def levels(place: Workplace, *options: str, code: int = 0) -> dict[str, str]:
    done = place.run("doctor", "--format", "json", *options)
    assert done.code == code, done.text
    return {check["name"]: check["level"] for check in json.loads(done.out)["checks"]}


def test_a_running_service_is_asked(mixed: Workplace) -> None:
    found = levels(mixed)
    assert set(found) == {
        "python",
        "engine",
        "service",
        "batch",
        "storage",
        "clock",
        "images",
        "quotas",
    }
    assert set(found.values()) == {"ok"}
    assert "All checks passed." in mixed.run("doctor").out


def test_a_service_that_does_not_run_is_not_started(
    azurite_installed: Path, tmp_path: Path
) -> None:
    desk = Inside(tmp_path, tmp_path / "home", {"BATCHSPEC_LOCAL_HOME": str(tmp_path / "home")})
    desk.environ["PATH"] = "/usr/bin:/bin"
    assert set(levels(desk)) == {"python", "engine", "service"}
    assert not desk.home.exists()


def test_a_service_that_could_not_start_fails_the_check(
    azurite_installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error of a read-only HOME."""
    home = tmp_path / "read-only" / "share" / "home"
    desk = Inside(tmp_path, home, {"BATCHSPEC_LOCAL_HOME": str(home)})
    real = os.access

    def access(path: str | Path, mode: int) -> bool:
        return path != tmp_path and real(path, mode)

    monkeypatch.setattr(os, "access", access)
    done = desk.run("doctor")
    assert done.code == Exit.SERVICE
    assert "Permission denied" in done.out
    assert "`export BATCHSPEC_LOCAL_HOME=FOLDER`" in done.out


def test_all_missing_settings_of_an_account_are_reported_together(mixed: Workplace) -> None:
    done = mixed.run("doctor", "--target", "azure")
    assert done.code == 4
    for name in ("AZURE_BATCH_ACCOUNT", "AZURE_BATCH_ENDPOINT", "AZURE_STORAGE_ACCOUNT"):
        assert f"{name} is not set" in done.out


def test_a_wrong_key_is_reported_and_the_other_checks_run(mixed: Workplace) -> None:
    ends = mixed.endpoints()
    environ = {
        **mixed.environ,
        "AZURE_BATCH_ACCOUNT": ends.batch_account,
        "AZURE_BATCH_ENDPOINT": ends.batch_url,
        "AZURE_BATCH_ACCESS_KEY": "d3Jvbmc=",
        "AZURE_STORAGE_CONNECTION_STRING": ends.connection_string,
    }
    found = levels(Inside(mixed.folder, mixed.home, environ), code=4)
    assert (found["account"], found["batch"], found["storage"]) == ("ok", "fail", "ok")
    assert found["clock"] == "ok"


def test_the_details_of_two_equal_failures_are_shown_once() -> None:
    message, fix = "no key\nTried to sign in with:\n  AzureCliCredential: not found", "Sign in."
    checks = [Check(name, Level.FAIL, message, fix) for name in ("batch", "storage")]
    shown = checks_text(checks)
    assert (shown.count("AzureCliCredential"), shown.count("fix:")) == (1, 1)
    assert "storage  no key\n               The details and the fix are those" in shown
    other = checks_text([*checks[:1], Check("storage", Level.FAIL, message, "Set a key.")])
    assert (other.count("AzureCliCredential"), other.count("fix:")) == (2, 2)
