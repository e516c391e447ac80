"""Stamps of output blobs: results of an earlier version, and deleted results."""

from __future__ import annotations

from batchspec.plan.metadata import WorkSet, is_stale, stamped, unstamped
from batchspec.plan.observed import Blob, ContainerFacts
from batchspec.spec import Record

OUTPUT = Record(
    filePattern="*.out",
    destination=Record(container=Record(containerUrl="https://example.org/c")),
)
LOG = Record(
    filePattern="../std*.txt",
    destination=Record(container=Record(containerUrl="https://example.org/c")),
)


def test_outputs_are_stamped_and_logs_are_not() -> None:
    output, log = stamped((OUTPUT, LOG), "0123456789abcd")
    assert isinstance(output, Record) and isinstance(log, Record)
    target = output["destination"]["container"]  # type: ignore[index]
    header = Record(name="x-ms-meta-batchspec_work", value="0123456789abcd")
    assert target["uploadHeaders"] == (header,)
    assert log == LOG
    assert unstamped((output,)) == (OUTPUT,)


def test_headers_of_the_spec_are_kept() -> None:
    own = Record(name="x-ms-meta-mine", value="1")
    target = Record(containerUrl="https://example.org/c", uploadHeaders=(own,))
    given = OUTPUT.with_(destination=Record(container=target))
    (output,) = stamped((given,), "0123456789abcd")
    headers = output["destination"]["container"]["uploadHeaders"]  # type: ignore[index, call-overload]
    assert headers[0] == own and len(headers) == 2
    assert unstamped((output,)) == (given,)


def test_a_blob_without_a_stamp_is_not_stale() -> None:
    works = WorkSet(["0123456789abcd", "fedcba98765432"])
    assert not is_stale(Blob("a", 1, None), works)
    assert not is_stale(Blob("a", 1, None, work="fedcba98765432"), works)
    assert is_stale(Blob("a", 1, None, work="00000000000000"), works)
    assert is_stale(Blob("a", 1, None, work="not a digest"), works)
    assert ContainerFacts({}).blobs == ()
