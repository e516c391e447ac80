"""Query options: documented filters, pages of a changing list, unsupported options."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from urllib.parse import quote

import pytest

from batchspec.local.wire import write_time
from tests.local.engine_stub import NOW, idle_node
from tests.local.running import Service

ALL = ("eq", "ne", "ge", "gt", "le", "lt")
TIME = "2026-01-02T03:04:05.6789Z"
RUN = {
    "state": (("eq", "ne"), "'completed'"),
    "startTime": (ALL, TIME),
    "endTime": (ALL, TIME),
    "exitCode": (ALL, "0"),
    "result": (("eq", "ne"), "'success'"),
}
STATUS = "/jobs/j/jobpreparationandreleasetaskstatus"


def ids(service: Service, path: str, text: str, name: str = "id") -> list[Any]:
    answer = service.request("GET", path, query=f"$filter={quote(text)}")
    assert answer.status == 200, (text, answer.body)
    return [item[name] for item in answer.json["value"]]


@pytest.fixture
def prepared(service: Service) -> Service:
    """A job whose preparation task has run on a node, and whose release task runs."""
    node = idle_node(service)
    job = service.store.jobs.add(
        "j",
        {"poolInfo": {"poolId": "p"}, "jobPreparationTask": {}},
        NOW,
        pool_id="p",
        priority=0,
        max_parallel=-1,
        deadline=None,
    )
    assert job is not None
    run = {
        "state": "completed",
        "startTime": TIME,
        "endTime": TIME,
        "exitCode": 0,
        "result": "success",
        "retryCount": 0,
        "taskRootDirectory": "x",
    }
    row = service.store.preparations.begin(job, node, run)
    service.store.preparations.update(row, "completed", run)
    release = {"state": "running", "startTime": TIME, "taskRootDirectory": "y"}
    service.store.preparations.update_release(row, "running", release)
    return service


def test_preparation_tasks_are_filtered_by_every_documented_property(prepared: Service) -> None:
    for name, (operators, literal) in RUN.items():
        field = f"jobPreparationTaskExecutionInfo/{name}"
        found = {
            o: len(ids(prepared, STATUS, f"{field} {o} {literal}", "nodeId")) for o in operators
        }
        assert found == {o: int(o in ("eq", "ge", "le")) for o in operators}, name
    both = "poolId eq 'p' and nodeId ne 'x' and jobPreparationTaskExecutionInfo/exitCode lt 1"
    assert ids(prepared, STATUS, both, "nodeId") == ["tvmps_a_d"]


def test_release_tasks_are_filtered_while_they_run(prepared: Service) -> None:
    for text, count in (
        ("state eq 'Running'", 1),
        (f"startTime eq {TIME}", 1),
        ("endTime eq null", 1),
        (f"endTime lt {TIME}", 0),
        ("exitCode ne 0", 1),  # a missing value differs from every value
        ("result eq 'failure'", 0),
    ):
        found = ids(prepared, STATUS, f"jobReleaseTaskExecutionInfo/{text}", "nodeId")
        assert len(found) == count, text


def test_schedules_are_filtered_by_every_documented_time(service: Service) -> None:
    later = {
        "doNotRunUntil": "2030-01-01T02:00:00.5+02:00",
        "doNotRunAfter": "2031-01-01T00:00:00Z",
    }
    for name, when in (("later", later), ("always", {"recurrenceInterval": "PT1H"})):
        body = {"id": name, "schedule": when, "jobSpecification": {"poolInfo": {"poolId": "p"}}}
        assert service.request("POST", "/jobschedules", body).status == 201
    for text, found in (
        ("schedule/doNotRunUntil eq 2030-01-01T00:00:00.5Z", ["later"]),
        ("schedule/doNotRunUntil gt 2030-01-01T00:00:00Z", ["later"]),
        ("schedule/doNotRunUntil lt 2030-01-01T00:00:00.4Z", []),
        ("schedule/doNotRunUntil eq null", ["always"]),
        ("schedule/doNotRunAfter le 2031-01-01", ["later"]),
        ("schedule/doNotRunAfter ne 2031-01-01", ["always"]),
        ("executionInfo/endTime eq null", ["always", "later"]),
        ("executionInfo/endTime lt 2040-01-01", []),
    ):
        assert ids(service, "/jobschedules", text) == found, text


def test_a_page_continues_after_its_last_item_while_the_list_changes(service: Service) -> None:
    service.request("POST", "/jobs", {"id": "j", "poolInfo": {"poolId": "p"}})

    def add(*names: str) -> None:
        tasks = [{"id": name, "commandLine": "/bin/true"} for name in names]
        service.request("POST", "/jobs/j/addtaskcollection", {"value": tasks})

    add("b", "d", "f", "h")
    first = service.request("GET", "/jobs/j/tasks", query="maxresults=2&$select=id").json
    assert [item["id"] for item in first["value"]] == ["b", "d"]
    add("a", "e")
    for name in ("d", "f"):
        service.request("DELETE", f"/jobs/j/tasks/{name}")
    token = first["odata.nextLink"].rpartition("&")[2]
    rest = service.request("GET", "/jobs/j/tasks", query=f"maxresults=2&$select=id&{token}").json
    # Each item appears once; all items that existed throughout, and later ones, are found.
    assert [item["id"] for item in rest["value"]] == ["e", "h"]
    assert "odata.nextLink" not in rest


@pytest.mark.parametrize(
    ("query", "code", "reason"),
    [
        ("$orderby=id", "UnsupportedQueryParameter", None),
        ("$top=3", "UnsupportedQueryParameter", None),
        ("$expand=tasks", "InvalidQueryParameterValue", "Only stats can be expanded"),
        ("$select=id,none", "InvalidQueryParameterValue", "The property 'none' does not exist"),
        ("$filter=metadata%20eq%20'x'", "InvalidQueryParameterValue",
         "The property 'metadata' cannot be used in a filter."),
        ("$filter=id%20eq%20'a'%20AND%20id%20eq%20'b'", "InvalidQueryParameterValue",
         "Syntax error: 'AND' was not expected at position 10 in 'id eq 'a' AND id eq 'b''."),
    ],
)  # fmt: skip
def test_an_unsupported_option_is_an_error(
    service: Service, query: str, code: str, reason: str | None
) -> None:
    answer = service.request("GET", "/jobs", query=query, checked=False)
    assert (answer.status, answer.code) == (400, code)
    assert answer.values["QueryParameterName"] == query.partition("=")[0]
    assert answer.values.get("Reason") == reason


@pytest.mark.parametrize("path", ["/pools", "/pools/none"])
def test_a_client_can_omit_metadata(service: Service, path: str) -> None:
    for accept, kind in (
        ("application/json", "minimalmetadata"),
        ("application/json;odata=minimalmetadata", "minimalmetadata"),
        ("application/json; odata=NoMetadata", "nometadata"),
        ("application/json;odata=fullmetadata", "minimalmetadata"),
    ):
        answer = service.request("GET", path, headers={"accept": accept}, checked=False)
        assert answer.headers["content-type"] == f"application/json;odata={kind}"
        assert ("odata.metadata" in answer.json) == (kind == "minimalmetadata")


def test_times_in_json_are_compared_exactly(prepared: Service) -> None:
    (row,) = prepared.store.preparations.of_job("j")
    field = "jobPreparationTaskExecutionInfo/startTime"
    for micros in (0, 1, 5, 999_999):
        moment = NOW.replace(microsecond=0) + timedelta(microseconds=micros)
        text = write_time(moment)
        prepared.store.preparations.update(row, "completed", {**row.info, "startTime": text})
        assert ids(prepared, STATUS, f"{field} eq {text}", "nodeId"), text
        after = write_time(moment + timedelta(microseconds=1))
        assert not ids(prepared, STATUS, f"{field} ge {after}", "nodeId"), text
