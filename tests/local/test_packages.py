"""Application packages: from the folder of the account to the tasks that use them."""

from __future__ import annotations

import stat
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError

from batchspec.local.agent import Package
from batchspec.local.agent.resource_files import PackageError, install_all
from tests.local.engines import job, pool, processes_of, running_with_engine, task, wait_until
from tests.local.running import Service

RESOURCE = (
    "/subscriptions/s/resourceGroups/g/providers/Microsoft.Batch/batchAccounts/a/applications/tool"
)


def pack(path: Path, files: Mapping[str, str], links: Mapping[str, str] | None = None) -> Path:
    """A zip file of texts by name; each may be executed by its owner."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = (stat.S_IFREG | 0o744) << 16
            archive.writestr(entry, text)
        for name, target in (links or {}).items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = (stat.S_IFLNK | 0o777) << 16
            archive.writestr(entry, target)
    return path


@pytest.fixture
def batch(tmp_path: Path) -> Iterator[Service]:
    """A service with two versions of ``tool`` and one of ``Other-Thing``."""
    folder = tmp_path / "batch" / "applications"
    for version in ("1.0", "2.0"):
        pack(folder / "tool" / f"{version}.zip", {"bin/tool": f"#!/bin/sh\necho tool {version}\n"})
    pack(folder / "Other-Thing" / "1-b.zip", {"data.txt": "other\n"})
    with running_with_engine(tmp_path / "batch") as service:
        yield service
        assert service.violations == []
    assert processes_of(tmp_path) == []


def refer(application: str, version: str | None = None) -> dict[str, str]:
    return {"applicationId": application} | ({"version": version} if version else {})


def ended(batch: Service, task_id: str = "t") -> Any:
    wait_until(lambda: batch.client.get_task("j", task_id).state.value == "completed")
    return batch.client.get_task("j", task_id).execution_info


def output(batch: Service, task_id: str = "t") -> str:
    return b"".join(batch.client.download_task_file("j", task_id, "stdout.txt")).decode()


def wrong_packages(error: HttpResponseError) -> list[tuple[str, str]]:
    assert error.status_code == 409
    assert error.error is not None
    assert error.error.code == "InvalidApplicationPackageReferences"
    return [(detail.code, detail.message) for detail in error.error.details]


def test_applications_are_read_from_the_folder(batch: Service) -> None:
    found = list(batch.client.list_applications())
    assert [(one.id, one.versions) for one in found] == [
        ("Other-Thing", ["1-b"]),
        ("tool", ["1.0", "2.0"]),
    ]
    assert batch.client.get_application("TOOL").versions == ["1.0", "2.0"]
    assert len(list(batch.client.list_applications(max_results=1))) == 2
    answer = batch.request("GET", "/applications/none")
    assert (answer.status, answer.code) == (404, "ApplicationNotFound")


def test_packages_of_a_pool_are_installed_before_its_start_task(batch: Service) -> None:
    starts = {"commandLine": "/bin/sh -c '$AZ_BATCH_APP_PACKAGE_tool_1_0/bin/tool > out.txt'"}
    packages = [refer(RESOURCE, "1.0"), refer("other-thing", "1-B")]
    batch.client.create_pool(pool(startTask=starts, applicationPackageReferences=packages))
    batch.client.create_job(job())
    script = (
        "cat $AZ_BATCH_NODE_STARTUP_DIR/wd/out.txt $AZ_BATCH_APP_PACKAGE_Other_Thing_1_B/data.txt; "
        "[ $AZ_BATCH_APP_PACKAGE_Other_Thing_1_B = $AZ_BATCH_APP_PACKAGE_other_thing_1_b ]; "
        "cd $AZ_BATCH_APP_PACKAGE_tool_1_0; pwd"
    )
    batch.client.create_task("j", task("t", script))
    assert ended(batch).exit_code == 0
    node = batch.client.get_task("j", "t").node_info.node_id
    place = batch.data / "nodes" / "p" / node / "applications" / "tool" / "1.0"
    assert output(batch) == f"tool 1.0\nother\n{place}\n"
    shown = batch.client.get_pool("p").application_package_references
    assert [one.application_id for one in shown] == [RESOURCE, "other-thing"]


def test_packages_of_a_task_are_in_its_environment_only(batch: Service) -> None:
    batch.client.create_pool(pool(taskSlotsPerNode=2))
    batch.client.create_job(job())
    (batch.data / "applications" / "tool" / "default").write_text("2.0\n")
    packages = [refer("tool"), refer("tool", "1.0")]
    script = "$AZ_BATCH_APP_PACKAGE_tool/bin/tool; $AZ_BATCH_APP_PACKAGE_tool_1_0/bin/tool"
    batch.client.create_task("j", task("t", script, applicationPackageReferences=packages))
    batch.client.create_task("j", task("u", "env"))
    assert ended(batch).exit_code == 0
    assert output(batch) == "tool 2.0\ntool 1.0\n"
    ended(batch, "u")
    assert "APP_PACKAGE" not in output(batch, "u")


def test_a_missing_package_is_refused_by_name(batch: Service) -> None:
    missing = "The specified application package does not exist."
    references = [refer("none"), refer("tool", "3.0"), refer("tool", "1.0"), refer("tool")]
    with pytest.raises(HttpResponseError) as caught:
        batch.client.create_pool(pool(applicationPackageReferences=references))
    assert wrong_packages(caught.value) == [
        ("none", missing),
        ("tool", missing),
        ("tool", "The specified application does not have a default version."),
    ]
    batch.client.create_pool(pool())
    batch.client.create_job(job())
    answer = batch.request("PATCH", "/pools/p", {"applicationPackageReferences": [refer("none")]})
    assert (answer.status, answer.values) == (409, {"none": missing})
    wanting = task("t", "true", applicationPackageReferences=[refer("none")])
    with pytest.raises(HttpResponseError) as caught:
        batch.client.create_task("j", wanting)
    assert wrong_packages(caught.value) == [("none", missing)]
    (result,) = batch.client.create_task_collection("j", {"value": [wanting]}).result_values
    assert result.error.code == "InvalidApplicationPackageReferences"


def test_a_task_without_its_package_fails_before_it_runs(batch: Service) -> None:
    batch.client.create_pool(pool())
    batch.client.create_job(job())
    limits = {"maxTaskRetryCount": 3}
    batch.client.create_task(
        "j", task("t", "true", applicationPackageReferences=[refer("tool")], constraints=limits)
    )
    info = ended(batch)
    assert (info.exit_code, info.retry_count) == (None, 0)
    assert info.failure_info.code == "ApplicationPackageError"
    details = {detail.name: detail.value for detail in info.failure_info.details}
    assert details["ApplicationId"] == "tool"


def test_a_node_without_its_package_is_unusable_until_it_is_rebooted(batch: Service) -> None:
    damaged = batch.data / "applications" / "tool" / "3.0.zip"
    damaged.write_text("no zip")
    batch.client.create_pool(pool(applicationPackageReferences=[refer("tool", "3.0")]))
    node = lambda: next(iter(batch.client.list_nodes("p")), None)  # noqa: E731
    wait_until(lambda: node() is not None and node().state.value == "unusable")
    (error,) = node().errors
    assert error.code == "ApplicationPackageError"
    assert error.error_details[-1].value == "The package is not a zip file: File is not a zip file"
    pack(damaged, {"x": "x"})
    batch.client.begin_reboot_node("p", node().id, {"nodeRebootOption": "requeue"})
    wait_until(lambda: node().state.value == "idle")
    assert not node().errors


@pytest.mark.parametrize("name", ["../out", "/out", "a/../../out", "..\\out"])
async def test_no_file_is_written_outside_of_the_package(tmp_path: Path, name: str) -> None:
    zipped = pack(tmp_path / "x.zip", {"first": "fine", name: "out"})
    target = tmp_path / "node" / "applications" / "x" / "1"
    with pytest.raises(PackageError) as caught:
        await install_all([Package("x", "1", zipped, target)])
    assert caught.value.failure.code == "ApplicationPackageError"
    assert sorted(path.name for path in tmp_path.rglob("*")) == [
        "applications", "node", "x", "x.zip"
    ]  # fmt: skip


async def test_links_stay_in_the_package_and_are_not_written_through(tmp_path: Path) -> None:
    target = tmp_path / "node" / "1"
    fine = pack(tmp_path / "fine.zip", {"lib/x": "x"}, {"bin/x": "../lib/x"})
    await install_all([Package("x", "1", fine, target)])
    assert (target / "bin/x").read_text() == "x"
    for number, points_to in enumerate(["/etc", "../../out", ".."]):
        bad = pack(tmp_path / "bad.zip", {}, {"bin/x" if number == 1 else "x": points_to})
        with pytest.raises(PackageError):
            await install_all([Package("x", "2", bad, tmp_path / "node" / "2")])
    through = tmp_path / "through.zip"
    pack(through, {}, {"sub": "real"})
    with zipfile.ZipFile(through, "a") as archive:
        archive.writestr("sub/file", "through")
    with pytest.raises(PackageError):
        await install_all([Package("x", "3", through, tmp_path / "node" / "3")])
    assert sorted(path.name for path in (tmp_path / "node").iterdir()) == ["1"]


async def test_an_installed_package_is_not_replaced(tmp_path: Path) -> None:
    target = tmp_path / "node" / "1"
    package = Package("x", "1", pack(tmp_path / "x.zip", {"tool": "one"}), target)
    await install_all([package])
    assert stat.S_IMODE((target / "tool").stat().st_mode) == 0o744
    (target / "tool").write_text("changed")
    await install_all([package])
    assert (target / "tool").read_text() == "changed"
