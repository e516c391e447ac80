"""Files of nodes and tasks: list, download, properties, delete, and no access outside."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from azure.core.exceptions import HttpResponseError

from tests.local.engine_stub import finish, idle_node, start
from tests.local.running import Service

TASK_FILES = "/jobs/j/tasks/t/files"


@pytest.fixture
def root(service: Service) -> Path:
    """The directory of a task that ran: ``j``, ``t``."""
    service.request("POST", "/jobs", {"id": "j", "poolInfo": {"poolId": "p"}})
    service.request("POST", "/jobs/j/tasks", {"id": "t", "commandLine": "x"})
    node = idle_node(service)
    finish(service, start(service, node, "t"))
    directory = service.data / "nodes" / "p" / node.id / "workitems" / "j" / "job-1" / "t"
    (directory / "wd" / "sub dir").mkdir(parents=True)
    for name, text in (("stdout.txt", "hello\n"), ("stderr.txt", "")):
        (directory / name).write_text(text)
        (directory / name).chmod(0o644)  # whatever the umask is
    (directory / "wd" / "sub dir" / "ä&#?%.bin").write_bytes(bytes(range(256)) * 4)
    return directory


def test_list(service: Service, root: Path) -> None:
    flat = list(service.client.list_task_files("j", "t"))
    assert [(one.name, one.is_directory) for one in flat] == [
        ("stderr.txt", False), ("stdout.txt", False), ("wd", True)
    ]  # fmt: skip
    assert (flat[1].properties.content_length, flat[1].properties.content_type) == (6, "text/plain")
    deep = list(service.client.list_task_files("j", "t", recursive=True, max_results=1))
    assert [one.name for one in deep] == [
        "stderr.txt", "stdout.txt", "wd", "wd/sub dir", "wd/sub dir/ä&#?%.bin"
    ]  # fmt: skip
    (raw, *_) = service.request("GET", TASK_FILES).json["value"]
    assert raw["properties"]["contentLength"] == "0"  # a text, as recorded
    assert raw["properties"]["fileMode"] == "0o100644"


def test_list_the_files_of_a_node(service: Service, root: Path) -> None:
    found = service.client.list_node_files(
        "p", "tvmps_a_d", recursive=True, filter="startswith(name,'workitems/j/job-1/t/std')"
    )
    assert [one.name for one in found] == [
        "workitems/j/job-1/t/stderr.txt", "workitems/j/job-1/t/stdout.txt"
    ]  # fmt: skip
    body = service.client.download_node_file("p", "tvmps_a_d", "workitems/j/job-1/t/stdout.txt")
    assert b"".join(body) == b"hello\n"


def test_download_and_properties(service: Service, root: Path) -> None:
    name = "wd/sub dir/ä&#?%.bin"
    assert b"".join(service.client.download_task_file("j", "t", name)) == bytes(range(256)) * 4
    look = service.request("HEAD", f"{TASK_FILES}/stdout.txt")
    assert (look.status, look.body) == (200, b"")
    assert look.headers["content-length"] == "6"
    assert look.headers["content-type"] == "text/plain"
    assert look.headers["ocp-batch-file-isdirectory"] == "False"
    assert look.headers["ocp-batch-file-mode"] == "0o100644"
    url = look.headers["ocp-batch-file-url"]
    assert url.startswith("http%3A%2F%2F127.0.0.1%3A")
    assert url.endswith("%2Fjobs%2Fj%2Ftasks%2Ft%2Ffiles%2Fstdout.txt")
    assert "etag" not in look.headers
    assert service.client.get_task_file_properties("j", "t", "wd").is_directory


@pytest.mark.parametrize(
    ("asked", "got"),
    [("bytes=0-3", b"hell"), ("bytes=4-", b"o\n"), ("bytes=2-99", b"llo\n"), ("bytes=-3", b"lo\n")],
)
def test_a_range_is_answered_200(service: Service, root: Path, asked: str, got: bytes) -> None:
    answer = service.request("GET", f"{TASK_FILES}/stdout.txt", headers={"ocp-range": asked})
    assert (answer.status, answer.body) == (200, got)
    assert answer.headers["content-length"] == str(len(got))
    body = service.client.download_task_file("j", "t", "stdout.txt", ocp_range=asked)
    assert b"".join(body) == got


@pytest.mark.parametrize(
    ("asked", "status", "code"),
    [
        ("bytes=6-9", 416, "InvalidRange"),
        ("bytes=3-1", 416, "InvalidRange"),
        ("lines=1-2", 400, "InvalidHeaderValue"),
    ],
)
def test_invalid_ranges(service: Service, root: Path, asked: str, status: int, code: str) -> None:
    answer = service.request("GET", f"{TASK_FILES}/stdout.txt", headers={"ocp-range": asked})
    assert (answer.status, answer.code) == (status, code)


def test_conditional_headers_of_files(service: Service, root: Path) -> None:
    os.utime(root / "stdout.txt", (1_000_000_000, 1_000_000_000))
    since = {"if-modified-since": "Sun, 09 Sep 2001 01:46:40 GMT"}
    assert service.request("GET", f"{TASK_FILES}/stdout.txt", headers=since).status == 304
    before = {"if-modified-since": "Sun, 09 Sep 2001 01:46:39 GMT"}
    assert service.request("GET", f"{TASK_FILES}/stdout.txt", headers=before).body == b"hello\n"


def test_delete(service: Service, root: Path) -> None:
    assert service.request("DELETE", f"{TASK_FILES}/stdout.txt").status == 200
    assert not (root / "stdout.txt").exists()
    refused = service.request("DELETE", f"{TASK_FILES}/wd")
    assert (refused.status, refused.code) == (409, "OperationInvalidForCurrentState")
    service.client.delete_task_file("j", "t", "wd", recursive=True)
    assert not (root / "wd").exists()
    assert service.request("DELETE", f"{TASK_FILES}/wd").code == "FileNotFound"


@pytest.mark.parametrize(
    "path",
    [
        "..",
        "../t/stdout.txt",
        "wd/../../../../stdout.txt",
        "/etc/passwd",
        "wd/%00",
        "absolute",
        "climbing",
        "folder/passwd",
        "loop",
        "pipe",
        "nothing",
        "stdout.txt/x",
        "wd",
    ],
)
def test_nothing_outside_the_directory_is_read_or_removed(
    service: Service, root: Path, tmp_path: Path, path: str
) -> None:
    outside = tmp_path / "secret"
    outside.write_text("secret")
    (root / "absolute").symlink_to(outside)
    (root / "climbing").symlink_to("../" * 20 + str(outside).lstrip("/"))
    (root / "folder").symlink_to("/etc")
    (root / "loop").symlink_to("loop")
    os.mkfifo(root / "pipe")
    encoded = f"{TASK_FILES}/{path.replace('/', '%2F')}"
    answer = service.request("GET", encoded)
    assert (answer.status, answer.code) == (404, "FileNotFound")
    if path not in ("wd", "absolute", "climbing", "folder", "loop", "pipe"):
        assert service.request("DELETE", encoded).status == 404
    service.request("DELETE", f"{TASK_FILES}/folder", query="recursive=true")
    assert Path("/etc/passwd").exists()
    assert outside.read_text() == "secret"


@pytest.mark.parametrize("swapped", [".", "..", "../../../.."])
def test_a_directory_replaced_by_a_link_is_not_found(
    service: Service, root: Path, tmp_path: Path, swapped: str
) -> None:
    place = (root / swapped).resolve()
    moved = tmp_path / "moved"
    place.rename(moved)
    place.symlink_to(moved)
    for request in (TASK_FILES, f"{TASK_FILES}/stdout.txt"):
        assert service.request("GET", request).status in (404, 409)
    assert service.request("DELETE", f"{TASK_FILES}/stdout.txt").status == 404
    assert len(list(moved.rglob("stdout.txt"))) == 1


def test_a_link_within_the_directory_is_followed(service: Service, root: Path) -> None:
    (root / "wd" / "latest").symlink_to("../stdout.txt")
    (root / "here").symlink_to("wd")
    for name in ("wd/latest", "here/latest"):
        assert service.request("GET", f"{TASK_FILES}/{name}").body == b"hello\n"
    names = [one.name for one in service.client.list_task_files("j", "t", recursive=True)]
    assert "wd/latest" in names
    assert "here" not in names
    service.request("DELETE", f"{TASK_FILES}/wd%2Flatest")
    assert (root / "stdout.txt").exists()


def test_names_that_are_not_utf_8_are_listed_and_downloaded(service: Service, root: Path) -> None:
    (root / "wd" / os.fsdecode(b"\xff.dat")).write_bytes(b"data")
    page = service.request("GET", TASK_FILES, query="recursive=true").json["value"]
    (url,) = (one["url"] for one in page if one["url"].endswith(".dat"))
    assert service.request("GET", url.removeprefix(service.url)).body == b"data"


def test_a_task_that_has_not_run_has_no_files(service: Service) -> None:
    service.request("POST", "/jobs", {"id": "j", "poolInfo": {"poolId": "p"}})
    service.request("POST", "/jobs/j/tasks", {"id": "t", "commandLine": "x"})
    answer = service.request("GET", TASK_FILES)
    assert (answer.status, answer.code) == (409, "TaskFilesUnavailable")
    with pytest.raises(HttpResponseError) as error:
        service.client.download_task_file("j", "t", "stdout.txt")
    assert error.value.status_code == 409
    assert service.request("GET", "/jobs/j/tasks/x/files").code == "TaskNotFound"


def test_cleaned_up_files_have_their_own_error(service: Service, root: Path) -> None:
    task = service.store.tasks.get("j", "t")
    assert task is not None
    service.store.runs.files_deleted(task)
    assert service.request("GET", TASK_FILES).code == "TaskFilesCleanedup"


def test_a_file_removed_during_a_download_arrives_completely(
    service: Service, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine can remove a file between lookup and download."""

    def late(chunks: Iterator[bytes]) -> bytes | None:
        (root / "stdout.txt").unlink(missing_ok=True)
        return next(chunks, None)

    monkeypatch.setattr("batchspec.local.http._next", late)
    assert service.request("GET", f"{TASK_FILES}/stdout.txt").body == b"hello\n"
    assert service.request("GET", f"{TASK_FILES}/stdout.txt").status == 404


def test_a_large_file_streams(service: Service, root: Path) -> None:
    content = os.urandom(3_000_000)
    (root / "big").write_bytes(content)
    assert b"".join(service.client.download_task_file("j", "t", "big")) == content
