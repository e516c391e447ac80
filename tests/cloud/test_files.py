"""The ends of files: only the necessary bytes are read; a missing file is an empty text."""

from __future__ import annotations

import re

import pytest

from batchspec.cloud import AccountClient
from batchspec.diagnostics import ServiceError
from tests.cloud.scripted import RESET, Asked, Reply, Scripted, refusal

PATH = "/jobs/j/tasks/t/files/stderr.txt"
TEXT = {"Content-Type": "application/octet-stream"}


def serve(server: Scripted, content: bytes, path: str = PATH) -> None:
    """Serve a file as the service does, with the range in ocp-range and the response 200."""

    def answer(asked: Asked) -> Reply:
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", asked.headers.get("ocp-range", ""))
        part = content[int(wanted[1]) : int(wanted[2]) + 1] if wanted else content
        return Reply(body=part, headers=TEXT)

    server.on("HEAD", path, Reply(headers={"Content-Length": str(len(content))}))
    server.on("GET", path, answer)


async def tail(cloud: AccountClient, size: int = 10) -> str:
    return await cloud.tasks.get_file_tail("j", "t", "stderr.txt", size)


async def test_only_the_end_is_requested(cloud: AccountClient, server: Scripted) -> None:
    serve(server, b"0123456789" * 1000)
    assert await tail(cloud, 4) == "6789"
    assert server.asked[-1].headers["ocp-range"] == "bytes=1804-9999"


async def test_the_end_of_a_file_contains_no_part_of_a_secret(
    cloud: AccountClient, server: Scripted
) -> None:
    signature = "b6Wq0Zr4Yt8Xk2Vn6Uj1Ti5Sg9Rf3Qe7Pd0Oc4Nb8Ma%3D"
    serve(server, f"{'x' * 9000} ?sv=2026&sig={signature}\nfailed".encode())
    assert await tail(cloud, 20) == "sv=2026&sig=***\nfailed"[-20:]


async def test_a_small_file_is_requested_without_a_range(
    cloud: AccountClient, server: Scripted
) -> None:
    serve(server, b"short")
    assert await tail(cloud) == "short"
    assert "ocp-range" not in server.asked[-1].headers


async def test_an_empty_file_is_not_requested(cloud: AccountClient, server: Scripted) -> None:
    serve(server, b"")
    assert await tail(cloud) == ""
    assert server.requests("GET") == []


async def test_a_file_of_a_node(cloud: AccountClient, server: Scripted) -> None:
    serve(server, b"start task", "/pools/p/nodes/n/files/startup%2Fstderr.txt")
    found = await cloud.nodes.get_file_tail("p", "n", "startup/stderr.txt", 4)
    assert found == "task"


@pytest.mark.parametrize(
    "missing",
    [
        # A HEAD that is refused has no body, so there is no code: the SDK prints a traceback.
        Reply(404),
        Reply(409),
    ],
)
async def test_a_missing_file_is_an_empty_text(
    cloud: AccountClient, server: Scripted, missing: Reply, caplog: pytest.LogCaptureFixture
) -> None:
    server.on("HEAD", PATH, missing)
    assert await tail(cloud) == ""
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("status", "code"),
    [(404, "FileNotFound"), (409, "TaskFilesCleanedup"), (416, "InvalidRange")],
)
async def test_a_file_that_is_deleted_between_the_requests(
    cloud: AccountClient, server: Scripted, status: int, code: str
) -> None:
    serve(server, b"x" * 100)
    server.on("GET", PATH, refusal(status, code))
    assert await tail(cloud) == ""


async def test_an_interrupted_response_is_requested_again(
    cloud: AccountClient, server: Scripted
) -> None:
    serve(server, b"0123456789")
    server.on("GET", PATH, Reply(body=b"0123456789", cut=3, headers=TEXT), RESET, Reply(body=b"ok"))
    assert await tail(cloud) == "ok"


async def test_an_error_of_the_service_is_raised(cloud: AccountClient, server: Scripted) -> None:
    server.on("HEAD", PATH, Reply(403))
    with pytest.raises(ServiceError) as caught:
        await tail(cloud)
    assert "stderr.txt of task t" in caught.value.problems[0].summary


async def test_bytes_that_are_not_utf8(cloud: AccountClient, server: Scripted) -> None:
    serve(server, b"a\xff\xfeb")
    assert await tail(cloud) == "a��b"


async def test_a_range_does_not_split_a_character(cloud: AccountClient, server: Scripted) -> None:
    serve(server, "x€€".encode())
    assert await tail(cloud, 5) == "€"
    serve(server, "€".encode())
    assert await tail(cloud, 3) == "€"
