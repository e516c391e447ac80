"""User accounts of nodes in requests; signing in: test_ssh."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from batchspec.local.model import NodeState
from tests.local.engine_stub import NOW, idle_node
from tests.local.engines import pool, running_with_engine, wait_until
from tests.local.running import Answer, Service

USERS = "/pools/p/nodes/tvmps_a_d/users"
SECRET = "no such password"


def add(service: Service, name: str = "ann", **more: object) -> Answer:
    return service.request("POST", USERS, {"name": name, **more})


def test_create_replace_and_delete(service: Service) -> None:
    idle_node(service)
    made = add(service, password=SECRET, isAdmin=True)
    assert (made.status, made.body) == (201, b"")
    assert made.headers["location"] == made.headers["dataserviceid"] == f"{service.url}{USERS}/ann"
    assert "etag" not in made.headers
    assert add(service).code == "NodeUserExists"
    changed = service.request(
        "PUT", f"{USERS}/ann", {"sshPublicKey": "AAAAC3NzaC1lZDI1NTE5AAAAIA=="}
    )
    assert (changed.status, changed.headers["dataserviceid"]) == (200, f"{service.url}{USERS}/ann")
    assert service.request("DELETE", f"{USERS}/ann").status == 200
    for answer in (
        service.request("PUT", f"{USERS}/ann", {}),
        service.request("DELETE", f"{USERS}/ann"),
    ):
        assert (answer.status, answer.code) == (404, "NodeUserNotFound")


def test_create_with_the_sdk(service: Service) -> None:
    idle_node(service)
    until_then = datetime.now(UTC) + timedelta(days=2)
    user = {"name": "ann", "password": SECRET, "expiryTime": until_then.isoformat()}
    service.client.create_node_user("p", "tvmps_a_d", user)
    service.client.replace_node_user("p", "tvmps_a_d", "ann", {"password": SECRET})
    service.client.delete_node_user("p", "tvmps_a_d", "ann")


def test_passwords_are_not_stored(service: Service) -> None:
    idle_node(service)
    add(service, password=SECRET)
    service.request("PUT", f"{USERS}/ann", {"password": SECRET})
    assert all(SECRET.encode() not in path.read_bytes() for path in service.data.rglob("*.db*"))


def test_an_expired_user_does_not_exist(service: Service) -> None:
    node = idle_node(service)
    gone = {"users": {"ann": (datetime.now(UTC) - timedelta(seconds=1)).isoformat()}}
    service.store.nodes.update(node, node.state, NOW, detail=gone)
    assert service.request("DELETE", f"{USERS}/ann").code == "NodeUserNotFound"
    assert add(service).status == 201


@pytest.mark.parametrize(
    ("name", "more", "named"),
    [
        ("", {}, "name"),
        ("x" * 65, {}, "name"),
        ("ann", {"expiryTime": "2020-01-01T00:00:00Z"}, "expiryTime"),
        ("ann", {"sshPublicKey": "/home/ann/.ssh/id_ed25519.pub"}, "sshPublicKey"),
        ("ann", {"expiryTime": "0001-01-01T00:00:00+14:00"}, "expiryTime"),
    ],
)
def test_invalid_requests(service: Service, name: str, more: dict[str, str], named: str) -> None:
    idle_node(service)
    answer = add(service, name, **more)
    assert (answer.status, answer.code) == (400, "InvalidPropertyValue")
    assert answer.values["PropertyName"] == named


def test_only_idle_and_running_nodes_accept_users(service: Service) -> None:
    node = idle_node(service)
    service.store.nodes.update(node, NodeState.UNUSABLE, NOW)
    assert add(service).code == "NodeStateUnusable"
    assert service.request("POST", "/pools/p/nodes/none/users", {"name": "a"}).code == (
        "NodeNotFound"
    )


def test_reboot_keeps_users_and_reimage_removes_them(tmp_path: Path) -> None:
    with running_with_engine(tmp_path / "batch") as service:
        service.client.create_pool(pool())
        wait_until(lambda: [node.state for node in service.client.list_nodes("p")] == ["idle"])
        (node,) = service.client.list_nodes("p")
        users = f"/pools/p/nodes/{node.id}/users"

        def after(verb: str) -> int:
            booted = service.client.get_node("p", node.id).last_boot_time
            service.request("POST", f"/pools/p/nodes/{node.id}/{verb}")

            def is_up() -> bool:
                found = service.client.get_node("p", node.id)
                return found.state == "idle" and found.last_boot_time != booted

            wait_until(is_up)
            return service.request("PUT", f"{users}/ann", {}).status

        assert service.request("POST", users, {"name": "ann"}).status == 201
        assert after("reboot") == 200
        assert after("reimage") == 404
        assert service.violations == []
