"""The tutorial on accounts that refuse their keys: with a managed identity, and without one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from azure.batch import BatchClient
from azure.core.credentials import AzureKeyCredential
from azure.core.pipeline.policies import HeadersPolicy
from azure.core.pipeline.transport import AioHttpTransport

from tests.e2e.conftest import Workplace
from tests.e2e.test_tutorial import counted, written

IDENTITY = (
    "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/batchspec/providers"
    "/Microsoft.ManagedIdentity/userAssignedIdentities/nodes"
)


@pytest.fixture
def place(separate_place: Workplace) -> Workplace:
    """A service that refuses the keys of its accounts."""
    separate_place.environ["BATCHSPEC_LOCAL_AUTH"] = "entra"
    return separate_place


def client_of(place: Workplace) -> BatchClient:
    """A client that sends the token of the service over http."""
    ends = place.endpoints()
    return BatchClient(
        ends.batch_url,
        AzureKeyCredential("unused"),  # type: ignore[arg-type]  the policy authenticates
        authentication_policy=HeadersPolicy({"Authorization": f"Bearer {ends.token}"}),
    )


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Method, URL and body of every request that a command sends from this process."""
    found: list[str] = []
    send: Callable[..., Any] = AioHttpTransport.send

    async def recorded(self: Any, request: Any, **options: Any) -> Any:
        body = getattr(request, "content", None) or getattr(request, "body", None) or ""
        found.append(f"{request.method} {request.url} {body!r}")
        return await send(self, request, **options)

    monkeypatch.setattr(AioHttpTransport, "send", recorded)
    return found


def with_identity(place: Workplace) -> None:
    """Use an identity everywhere. The service uploads the results, not the program."""
    place.edit("\npool:\n", f"\nstorage: {{identity: {IDENTITY}}}\npool:\n")
    place.edit("  vm_size:", f"  identity: {{ids: [{IDENTITY}]}}\n  vm_size:")
    place.edit(
        'env: {OUTPUT_URL: "{{ containers.output.write_url }}"}',
        'outputs: [{files: "*.top.txt", container: output}]',
    )


def test_the_tutorial_runs_without_keys(place: Workplace, sent: list[str]) -> None:
    """As it is: URLs are signed with a user delegation key."""
    done = place.run("apply", place.spec)
    assert done.code == 0, done.text
    assert "the accounts refuse their keys" in done.err
    [one, *_] = sorted((place.folder / "specs" / "data").glob("*.txt"))
    assert written(place.results / f"{one.name}.top.txt") == counted(one, 3)
    assert "Nothing to do" in place.run("apply", place.spec).out
    assert place.run("destroy", place.spec, "-y").code == 0
    assert len([line for line in sent if "comp=userdelegationkey" in line]) == 1


def test_the_tutorial_runs_without_signatures(place: Workplace, sent: list[str]) -> None:
    with_identity(place)
    planned = place.run("plan", place.spec)
    assert planned.code == 0, planned.text
    done = place.run("apply", place.spec)
    assert done.code == 0, done.text
    inputs = sorted((place.folder / "specs" / "data").glob("*.txt"))
    for path in inputs:
        assert written(place.results / f"{path.name}.top.txt") == counted(path, 3)

    assert "Nothing to do" in place.run("apply", place.spec).out

    place.edit("nodes: 3", "nodes: 1")
    assert place.run("apply", place.spec, "--var", "top=5").code == 0
    assert written(place.results / f"{inputs[0].name}.top.txt") == counted(inputs[0], 5)
    with client_of(place) as client:
        pool = client.get_pool("topn")
        assert pool.target_dedicated_nodes == 1
        assert pool.identity is not None

    assert place.run("destroy", place.spec, "-y").code == 0
    with client_of(place) as client:
        assert not list(client.list_pools())
    managed = [line.split("?")[0] for line in sent if "/batchAccounts/" in line]
    assert [line.split(" ")[0] for line in managed] == ["PUT", "GET", "PATCH", "DELETE"]
    assert not [line for line in sent if "/pools" in line and line.startswith("POST")]
    assert not [line for line in sent if "sig=" in line or "userdelegationkey" in line]
