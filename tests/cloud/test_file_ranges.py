"""Parts of files of tasks and nodes, and of blobs, from an offset on."""

from __future__ import annotations

from batchspec.account import FilePart
from batchspec.cloud import AccountClient
from batchspec.cloud.facts import kept_output
from tests.cloud.scripted import Reply, Scripted, refusal, storage_refusal
from tests.cloud.test_files import PATH, serve


async def part(cloud: AccountClient, start: int, most: int = 100) -> FilePart | None:
    return await cloud.tasks.get_file("j", "t", "stderr.txt", start, most)


async def test_only_new_bytes_are_requested(cloud: AccountClient, server: Scripted) -> None:
    serve(server, b"0123456789")
    assert await part(cloud, 4) == FilePart(b"456789", 10)
    assert server.asked[-1].headers["ocp-range"] == "bytes=4-9"
    assert await part(cloud, 4, most=2) == FilePart(b"45", 10)


async def test_without_new_bytes_nothing_is_requested(
    cloud: AccountClient, server: Scripted
) -> None:
    serve(server, b"0123456789")
    assert await part(cloud, 10) == FilePart(b"", 10)
    assert server.requests("GET") == []


async def test_a_rewritten_file_is_detected_by_its_length(
    cloud: AccountClient, server: Scripted
) -> None:
    serve(server, b"ab")
    assert await part(cloud, 10) == FilePart(b"", 2)


async def test_a_missing_file_is_none(cloud: AccountClient, server: Scripted) -> None:
    server.on("HEAD", PATH, Reply(404))
    assert await part(cloud, 0) is None


async def test_a_missing_blob_is_none(cloud: AccountClient, server: Scripted) -> None:
    server.on("HEAD", "/store/logs/x", storage_refusal(404, "BlobNotFound"))
    assert await cloud.blobs.get_part("logs", "x", 0, 10) is None


async def test_a_missing_task_is_none(cloud: AccountClient, server: Scripted) -> None:
    server.on("GET", "/jobs/j/tasks/t", refusal(404, "TaskNotFound"))
    assert await cloud.tasks.get("j", "t") is None


async def test_a_missing_pool_has_no_nodes(cloud: AccountClient, server: Scripted) -> None:
    server.on("GET", "/pools/p/nodes", refusal(404, "PoolNotFound"))
    assert [node async for node in cloud.nodes.list("p", missing_ok=True)] == []


def test_the_output_location_is_read_from_the_task() -> None:
    """The container's name is in its URL, whose signature is not read."""
    file = {
        "filePattern": "../std*.txt",
        "destination": {
            "container": {
                "containerUrl": "https://a.blob.core.windows.net/topn-logs?sig=x",
                "path": "logs/t/",
            }
        },
    }
    other = {**file, "filePattern": "*.csv"}
    assert kept_output({"outputFiles": [other, file]}) == ("topn-logs", "logs/t")
    assert kept_output({"outputFiles": [other]}) is None
    assert kept_output({}) is None
