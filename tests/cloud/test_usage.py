"""What quotas count, counted by ids alone."""

from __future__ import annotations

from batchspec.cloud import AccountClient
from batchspec.plan.observed import Usage
from tests.cloud.scripted import Reply, Scripted


def page(*states: str, more: str = "") -> Reply:
    values = [{"id": f"x{n}", "state": state} for n, state in enumerate(states)]
    link = {"odata.nextLink": f"http://elsewhere{more}"} if more else {}
    return Reply(body={"odata.metadata": "m", "value": values, **link})


async def test_pools_active_jobs_and_schedules_are_counted(
    cloud: AccountClient, server: Scripted
) -> None:
    server.on("GET", "/pools", page("active", "active", more="/pools?more=1"), page("active"))
    server.on("GET", "/jobs", page("active"))
    server.on("GET", "/jobschedules", page("active", "completed", "disabled", "deleting"))
    assert await cloud.quotas.get_usage() == Usage(pools=3, jobs=3)
    asked = {request.path: request.query for request in server.asked if "more" not in request.query}
    assert {query["$select"] for query in asked.values()} == {"id,state"}
    assert asked["/jobs"]["$filter"] == "state eq 'active'"
