"""Signed URLs that have expired are renewed by the next run, on the service."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import pytest
from azure.batch import BatchClient, models
from azure.core.credentials import AzureNamedKeyCredential
from azure.core.exceptions import HttpResponseError
from azure.storage.blob import BlobClient, BlobServiceClient, generate_blob_sas

from tests.e2e.conftest import Workplace
from tests.local.engines import wait_until

SPEC = """\
version: 1
name: signed
containers: {application: {upload: [program.sh]}, output: {}}
pool:
  vm_size: standard_d2s_v5
  nodes: 1
  image: ubuntu-24.04
  start_task: {command: cp program.sh "$AZ_BATCH_NODE_SHARED_DIR/", resources: [application]}
job: {max_wall_clock_time: 1m}
tasks:
  say:
    command: sh "$AZ_BATCH_NODE_SHARED_DIR/program.sh" > said.txt
    outputs: [{files: said.txt, container: output}]
    logs: false
results: [{container: output, to: results/}]
cleanup: {pool: never}
"""


def batch(place: Workplace) -> BatchClient:
    ends = place.endpoints()
    return BatchClient(ends.batch_url, AzureNamedKeyCredential(ends.batch_account, ends.batch_key))


def states(client: BatchClient) -> list[str]:
    """The states of the nodes, those before and during the start task as ``starting``."""
    early = {"creating", "starting", "waitingforstarttask"}
    found = (str(getattr(node.state, "value", node.state)) for node in client.list_nodes("signed"))
    return ["starting" if state in early else state for state in found]


def age(place: Workplace) -> str:
    """Make the signatures of the pool's start task expire, as after hours; returns its URL."""
    now, connection = datetime.now(UTC), place.endpoints().connection_string
    with (
        batch(place) as client,
        BlobServiceClient.from_connection_string(connection) as store,
    ):
        found = client.get_pool("signed")
        assert found.start_task is not None and found.start_task.resource_files is not None
        (file,) = found.start_task.resource_files
        expired = generate_blob_sas(
            str(store.account_name),
            "application",
            "program.sh",
            account_key=store.credential.account_key,
            permission="r",
            start=now - timedelta(hours=3),
            expiry=now - timedelta(hours=1),
        )
        file.http_url = f"{str(file.http_url).partition('?')[0]}?{expired}"
        changed = {"batchspec:until": (now - timedelta(hours=1)).isoformat()}
        assert changed.keys() <= {entry.name for entry in found.metadata or ()}
        client.update_pool(
            "signed",
            models.BatchPoolUpdateOptions(
                start_task=found.start_task,
                metadata=[
                    models.BatchMetadataItem(
                        name=entry.name, value=changed.get(entry.name, entry.value)
                    )
                    for entry in found.metadata or ()
                ],
            ),
        )
    return str(file.http_url)


def test_a_new_node_starts_after_the_signatures_of_its_pool_have_expired(place: Workplace) -> None:
    place.spec.write_text(SPEC, encoding="utf-8")
    (place.spec.parent / "program.sh").write_text("echo said\n", encoding="utf-8")
    assert place.run("apply", place.spec).code == 0
    url = age(place)
    with BlobClient.from_blob_url(url) as blob, pytest.raises(HttpResponseError):
        blob.get_blob_properties()
    # The first node keeps running, and the second one reads the program when it starts.
    place.edit("nodes: 1", "nodes: 2")
    place.edit('program.sh" > said.txt', 'program.sh" > said.txt; echo again')
    assert "signed URLs of its start task expire on" in place.run("plan", place.spec).out
    done = place.run("apply", place.spec)
    assert done.code == 0, done.text
    assert urlsplit(url).query not in done.text
    with batch(place) as client:
        wait_until(lambda: len(states(client)) == 2 and "starting" not in states(client))
        assert states(client) == ["idle", "idle"]
