"""The output of failed start tasks is stored: once for equal failures, bounded and redacted."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace

from batchspec.account import NodeFacts
from batchspec.apply.events import Event, Noticed
from batchspec.apply.ports import Runtime
from batchspec.apply.record import NodeLogs, forget_pool_output, keep_pool_output
from batchspec.diagnostics import Diagnostic, ServiceError
from batchspec.plan.failures import NodeFailure, read_node_failure
from tests.apply.fake import FakeAccount


@dataclass
class FailedNodes(FakeAccount):
    """A pool whose nodes failed, with what each wrote to stderr."""

    wrote: dict[str, str] = field(default_factory=dict)
    read: list[str] = field(default_factory=list)

    class Nodes(FakeAccount.Nodes):
        async def list_unhealthy(self, pool_id: str) -> AsyncIterator[NodeFacts]:
            for name in self.account.wrote:
                yield NodeFacts(name, "starttaskfailed", 3, "it exited with 3")

        async def get_file_tail(self, pool_id: str, node: str, path: str, size: int) -> str:
            self.account.read.append(f"{node}/{path}")
            return self.account.wrote[node][-size:] if path.endswith("stderr.txt") else "out\n"

    def kept(self) -> Runtime:
        return replace(self.runtime(), node_logs=NodeLogs("logs"))

    def records(self) -> list[NodeFailure]:
        blobs = self.stored["logs"]
        found = [
            read_node_failure(blobs[name].decode()) for name in blobs if name.endswith(".json")
        ]
        return [record for record in found if record is not None]


def account(**wrote: str) -> FailedNodes:
    return FailedNodes(stored={"logs": {}}, wrote=wrote)


def nothing(_: Event) -> None:
    raise AssertionError("nothing is to be reported")


async def test_nodes_with_the_same_failure_are_stored_once() -> None:
    nodes = account(**{f"n{number}": f"no disk {number}\n" for number in range(12)}, odd="other\n")
    await keep_pool_output("p", nodes.kept(), nothing)
    first, odd = nodes.records()
    assert (first.count, first.node, len(first.nodes)) == (12, "n0", 10)
    assert (odd.count, odd.nodes) == (1, ("odd",))
    blobs = nodes.stored["logs"]
    assert blobs["_nodes/p/n0/startup/stderr.txt"] == b"no disk 0\n"
    assert blobs["_nodes/p/n0/startup/stdout.txt"] == b"out\n"
    assert sorted(name.split("/")[2] for name in blobs) == ["n0"] * 3 + ["odd"] * 3


async def test_a_node_is_read_once_and_later_ones_are_added() -> None:
    nodes = account(a="no disk 1\n")
    runtime = nodes.kept()
    await keep_pool_output("p", runtime, nothing)
    await keep_pool_output("p", runtime, nothing)
    assert len(nodes.read) == 2
    nodes.wrote["b"] = "no disk 2\n"
    await keep_pool_output("p", runtime, nothing)
    (record,) = nodes.records()
    assert (record.count, record.nodes) == (2, ("a", "b"))


async def test_the_number_of_nodes_and_of_failures_is_bounded() -> None:
    words = [f"{chr(97 + number // 26)}{chr(97 + number % 26)}" for number in range(200)]
    nodes = account(**{f"n{word}": f"cause {word}\n" for word in words})
    await keep_pool_output("p", nodes.kept(), nothing)
    assert len(nodes.records()) == 10
    assert len(nodes.read) == 2 * 50


async def test_output_is_cut_at_its_beginning_and_redacted() -> None:
    nodes = account(a="x" * 100_000 + "\nsee http://h/c?sig=abcdef&se=1\n")
    await keep_pool_output("p", nodes.kept(), nothing)
    data = nodes.stored["logs"]["_nodes/p/a/startup/stderr.txt"]
    assert len(data) <= 64 * 1024
    assert data.endswith(b"sig=***&se=1\n")


async def test_binary_output_is_stored() -> None:
    nodes = account(a="\ufffd\x00\x01")
    await keep_pool_output("p", nodes.kept(), nothing)
    assert nodes.stored["logs"]["_nodes/p/a/startup/stderr.txt"] == "\ufffd\x00\x01".encode()


async def test_without_a_container_nothing_is_read() -> None:
    nodes = account(a="x")
    await keep_pool_output("p", nodes.runtime(), nothing)
    await forget_pool_output("p", nodes.runtime(), nothing)
    assert nodes.read == []


async def test_a_refusal_is_one_warning() -> None:
    nodes, events = account(a="x", b="y"), list[Event]()
    nodes.fail.add("blobs.put")
    runtime = nodes.kept()
    await keep_pool_output("p", runtime, events.append)
    await keep_pool_output("p", runtime, events.append)
    (event,) = events
    assert isinstance(event, Noticed)
    assert event.problem.code == "node-output-not-stored"


async def test_a_deleted_container_is_not_reported() -> None:
    class Gone(FailedNodes):
        class Blobs(FailedNodes.Blobs):
            async def put(self, container: str, blob: str, data: bytes) -> None:
                raise ServiceError(Diagnostic("x", "gone"), code="ContainerNotFound", status=404)

    await keep_pool_output("p", Gone(wrote={"a": "x"}).kept(), nothing)


async def test_stored_output_is_deleted_before_the_pool_is_created_again() -> None:
    nodes = account(a="x")
    runtime = nodes.kept()
    nodes.stored["logs"] |= {"_nodes/p2/z/startup/stderr.txt": b"", "logs/t/stderr.txt": b""}
    await keep_pool_output("p", runtime, nothing)
    await forget_pool_output("p", runtime, nothing)
    assert sorted(nodes.stored["logs"]) == [
        "_nodes/p2/z/startup/stderr.txt",
        "logs/t/stderr.txt",
    ]
    await keep_pool_output("p", runtime, nothing)
    assert len(nodes.records()) == 1, "it is stored again"


def test_a_record_of_another_version_is_ignored() -> None:
    assert read_node_failure("") is None
    assert read_node_failure("[]") is None
    assert read_node_failure('{"version": 2}') is None
    assert read_node_failure('{"version": 1, "pool": "p"}') is None
