"""Changes of an existing pool: scaling and restarts of nodes, with every kind of response."""

from __future__ import annotations

import pytest

from batchspec.cloud import AccountClient
from batchspec.diagnostics import ServiceError
from tests.cloud.conftest import Time
from tests.cloud.scripted import RESET, Reply, Scripted, refusal


def nodes(*names: str) -> Reply:
    return Reply(body={"value": [{"id": name, "state": "idle"} for name in names]})


async def test_a_formula_is_sent_with_its_interval(cloud: AccountClient, server: Scripted) -> None:
    server.on("POST", "/pools/x/enableautoscale", Reply(200))
    await cloud.pools.enable_autoscale("x", "$TargetDedicatedNodes = 1;", "PT10M")
    assert server.asked[-1].json == {
        "autoScaleFormula": "$TargetDedicatedNodes = 1;",
        "autoScaleEvaluationInterval": "PT10M",
    }
    await cloud.pools.enable_autoscale("x", "$TargetDedicatedNodes = 1;", None)
    assert "autoScaleEvaluationInterval" not in server.asked[-1].json


async def test_a_formula_is_removed(cloud: AccountClient, server: Scripted) -> None:
    server.on("POST", "/pools/x/disableautoscale", Reply(200))
    await cloud.pools.disable_autoscale("x")
    assert len(server.asked) == 1


async def test_a_formula_waits_for_a_resize(
    cloud: AccountClient, server: Scripted, clock: Time
) -> None:
    busy = refusal(409, "PoolBeingResized")
    server.on("POST", "/pools/x/enableautoscale", busy, Reply(200))
    await cloud.pools.enable_autoscale("x", "$TargetDedicatedNodes = 1;", None)
    assert clock.slept


async def test_an_invalid_formula(cloud: AccountClient, server: Scripted) -> None:
    server.on("POST", "/pools/x/enableautoscale", refusal(400, "AutoScalingFormulaSyntaxError"))
    with pytest.raises(ServiceError) as caught:
        await cloud.pools.enable_autoscale("x", "no", None)
    assert caught.value.code == "AutoScalingFormulaSyntaxError"


async def test_a_resize_has_a_timeout(cloud: AccountClient, server: Scripted) -> None:
    server.on("POST", "/pools/x/resize", Reply(202))
    await cloud.pools.resize("x", 1, 0, "PT20M")
    assert server.asked[-1].json["resizeTimeout"] == "PT20M"


async def test_every_node_is_restarted_and_its_tasks_are_requeued(
    cloud: AccountClient, server: Scripted
) -> None:
    server.on("GET", "/pools/x/nodes", nodes("a", "b"))
    server.on("POST", "/pools/x/nodes/(a|b)/reboot", Reply(202))
    await cloud.nodes.reboot("x")
    asked = server.requests("POST")
    assert [request.path for request in asked] == [
        "/pools/x/nodes/a/reboot",
        "/pools/x/nodes/b/reboot",
    ]
    assert asked[0].json == {"nodeRebootOption": "requeue"}


async def test_a_starting_node_is_restarted_later(
    cloud: AccountClient, server: Scripted, clock: Time
) -> None:
    """The node may already have read the earlier properties."""
    server.on("GET", "/pools/x/nodes", nodes("a", "b"))
    starting = refusal(409, "NodeBeingStarted")
    server.on("POST", "/pools/x/nodes/a/reboot", starting, Reply(202))
    server.on("POST", "/pools/x/nodes/b/reboot", Reply(202))
    await cloud.nodes.reboot("x")
    asked = [request.path.split("/")[4] for request in server.requests("POST")]
    assert asked == ["a", "b", "a"]
    assert clock.slept


@pytest.mark.parametrize(
    "answer",
    [
        refusal(404, "NodeNotFound"),
        refusal(409, "NodeStateUnusable"),
        refusal(409, "OperationInvalidForCurrentState"),
        refusal(409, "NodeBeingReimaged"),
    ],
    ids=["missing", "lost", "leaving", "reimaged"],
)
async def test_a_lost_node_is_not_restarted(
    cloud: AccountClient, server: Scripted, answer: Reply
) -> None:
    server.on("GET", "/pools/x/nodes", nodes("a"))
    server.on("POST", "/pools/x/nodes/a/reboot", answer)
    await cloud.nodes.reboot("x")
    assert len(server.requests("POST")) == 1


async def test_a_restart_whose_response_was_lost(cloud: AccountClient, server: Scripted) -> None:
    server.on("GET", "/pools/x/nodes", nodes("a"))
    server.on("POST", "/pools/x/nodes/a/reboot", RESET, refusal(409, "NodeBeingRebooted"))
    await cloud.nodes.reboot("x")


async def test_a_node_that_starts_forever(
    cloud: AccountClient, server: Scripted, clock: Time
) -> None:
    server.on("GET", "/pools/x/nodes", nodes("a"))
    server.on("POST", "/pools/x/nodes/a/reboot", refusal(409, "NodeBeingStarted"))
    with pytest.raises(ServiceError) as caught:
        await cloud.nodes.reboot("x")
    assert caught.value.code == "NodeBeingStarted"
    assert clock.seconds < 3000
