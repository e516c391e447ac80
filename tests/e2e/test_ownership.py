"""Objects of another spec or run are not changed without a question that names them."""

from __future__ import annotations

import subprocess
from contextlib import suppress
from dataclasses import replace

import pytest
from azure.batch import BatchClient
from azure.batch.models import BatchPoolUpdateOptions, BatchStartTask
from azure.core.credentials import AzureNamedKeyCredential
from azure.storage.blob import BlobServiceClient

from tests.command_process import RunningCommand
from tests.e2e.conftest import Workplace, until
from tests.e2e.terminal import answered

RUN = """\
version: 1
name: my-run
containers: {my-output: {}}
pool: {vm_size: standard_d2s_v5, nodes: 1, image: ubuntu-24.04}
job: {max_wall_clock_time: 10m}
tasks:
  say:
    for_each: {range: [0, 3]}
    command: until test -e "GO"; do sleep 0.05; done; echo WORD > {{ index }}.txt
    outputs: [{files: "*.txt", container: my-output}]
    logs: false
results: [{container: my-output, to: results/}]
cleanup: {pool: never}
"""


def folder(place: Workplace, name: str, text: str) -> Workplace:
    """A spec in a separate folder, on the same service."""
    made = place.folder.parent / name
    (made / "specs").mkdir(parents=True)
    found = replace(place, folder=made)
    found.spec.write_text(text.replace("GO", str(place.folder / "go")), encoding="utf-8")
    return found


def batch(place: Workplace) -> BatchClient:
    ends = place.endpoints()
    return BatchClient(ends.batch_url, AzureNamedKeyCredential(ends.batch_account, ends.batch_key))


def containers(place: Workplace) -> dict[str, dict[str, str]]:
    """The containers of the account with their metadata."""
    with BlobServiceClient.from_connection_string(place.endpoints().connection_string) as service:
        found = service.list_containers(include_metadata=True)
        return {each.name: dict(each.metadata or {}) for each in found}


def blobs(place: Workplace, container: str) -> set[str]:
    with BlobServiceClient.from_connection_string(place.endpoints().connection_string) as service:
        return {str(name) for name in service.get_container_client(container).list_blob_names()}


def said(place: Workplace) -> set[str]:
    found = (place.spec.parent / "results").iterdir()
    return {path.read_text(encoding="utf-8").strip() for path in found}


def first_to_end(processes: list[RunningCommand]) -> int:
    """The index of the process that ends first."""
    while True:
        for number, process in enumerate(processes):
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=0.05)
                return number


def test_a_run_of_the_same_name_from_another_folder_is_a_question(place: Workplace) -> None:
    one = folder(place, "one", RUN.replace("WORD", "first"))
    two = folder(place, "two", RUN.replace("WORD", "second"))
    place.endpoints()
    assert one.run("apply", one.spec, "--detach").code == 0
    client = batch(place)
    before = client.get_job("my-run").last_modified
    refused = two.run("apply", two.spec)
    assert refused.code == 2, refused.text
    for words in ("another run of 'my-run' is active", "another spec file of this host", "3 tasks"):
        assert words in refused.text
    assert "there is no terminal" in refused.err
    assert client.get_job("my-run").last_modified == before
    assert len(list(client.list_tasks("my-run"))) == 3
    quiet = two.run("apply", two.spec, "--progress", "json")
    assert quiet.code == 2, quiet.text
    assert "another run of 'my-run' is active" in quiet.err
    assert two.run("plan", two.spec).code == 0, "a plan only shows it"
    code, text = answered(two, ("n",), "apply", two.spec)
    assert code == 0, text
    assert "another run of 'my-run' is active" in text
    assert client.get_job("my-run").last_modified == before
    destroyed = two.run("destroy", two.spec, "--force")
    assert destroyed.code == 2, destroyed.text
    assert "another run of 'my-run' is active" in destroyed.text
    place.let_go()
    done = one.run("attach", one.spec)
    assert done.code == 0, done.text
    assert said(one) == {"first"}
    # The other run has ended, and its outputs would be replaced.
    refused = two.run("apply", two.spec)
    assert refused.code == 2, refused.text
    assert "another run of 'my-run' is in the account" in refused.text
    assert len(list(client.list_jobs())) == 1
    done = two.run("apply", two.spec, "-y")
    assert done.code == 0, done.text
    assert said(two) == {"second"}


def test_blobs_of_another_program_are_replaced_only_after_a_question(place: Workplace) -> None:
    text = RUN.replace("my-output: {}", "my-output: {}, my-input: {upload: [data/*.txt]}")
    one = folder(place, "one", text)
    data = one.spec.parent / "data"
    data.mkdir()
    (data / "a.txt").write_text("of the spec", encoding="utf-8")
    ends = place.endpoints()
    with BlobServiceClient.from_connection_string(ends.connection_string) as service:
        blob = service.get_blob_client("my-input", "a.txt")
        service.create_container("my-input").close()
        blob.upload_blob(b"of another program")
        refused = one.run("apply", one.spec)
        assert refused.code == 2, refused.text
        assert "would replace 1 blob in the container 'my-input'" in refused.text
        assert blob.download_blob().readall() == b"of another program"
        place.let_go()
        assert one.run("apply", one.spec, "-y").code == 0
        assert blob.download_blob().readall() == b"of the spec"
    (data / "a.txt").write_text("edited", encoding="utf-8")
    one.edit("WORD", "WORD2")
    assert one.run("apply", one.spec).code == 0, "the container is in use by this spec now"


def test_the_same_work_from_another_folder_joins(place: Workplace) -> None:
    one, two = (folder(place, name, RUN) for name in ("one", "two"))
    place.endpoints()
    assert one.run("apply", one.spec, "--detach").code == 0
    joined = two.start("apply", two.spec, "--progress", "plain")
    until(joined, "running")
    place.let_go()
    text, _ = joined.communicate(timeout=60)
    assert joined.returncode == 0, text
    assert "another run" not in text
    assert said(two) == {"WORD"}


def test_the_same_folder_continues_after_an_edit_without_a_question(place: Workplace) -> None:
    one = folder(place, "one", RUN)
    place.endpoints()
    assert one.run("apply", one.spec, "--detach").code == 0
    one.edit("[0, 3]", "[0, 4]")
    assert one.run("apply", one.spec, "--detach").code == 0
    two = folder(place, "two", one.spec.read_text(encoding="utf-8"))
    planned = two.run("plan", two.spec)
    assert planned.code == 0
    assert "another run" not in planned.text, "the job records the edited version"
    place.let_go()


def test_of_two_runs_that_start_at_once_one_is_a_question(place: Workplace) -> None:
    places = [folder(place, word, RUN.replace("WORD", word)) for word in ("first", "second")]
    place.endpoints()
    runs = [each.start("apply", each.spec, "--progress", "plain") for each in places]
    loser = first_to_end(runs)
    text, _ = runs[loser].communicate(timeout=60)
    assert runs[loser].returncode == 2, text
    assert "another run" in text
    place.let_go()
    text, _ = runs[1 - loser].communicate(timeout=60)
    assert runs[1 - loser].returncode == 0, text
    assert said(places[1 - loser]) == {("first", "second")[1 - loser]}
    client = batch(place)
    assert [job.id for job in client.list_jobs()] == ["my-run"]
    assert [pool.id for pool in client.list_pools()] == ["my-run"], "the other's pool stays"


SHARING = """\
version: 1
name: NAME
containers:
  data: {id: shared-data, upload: [data.txt]}
  output: {id: shared-output}
pool: {vm_size: standard_d2s_v5, nodes: 1, image: ubuntu-24.04}
job: {max_wall_clock_time: 10m}
tasks:
  say:
    command: echo NAME > NAME.txt
    outputs: [{files: NAME.txt, container: output}]
    resources: [data]
    logs: false
results: [{container: output, to: results/}]
cleanup: {containers: CLEANUP}
"""


def sharing(place: Workplace, name: str, *, cleanup: str = "never") -> Workplace:
    text = SHARING.replace("NAME", name).replace("CLEANUP", cleanup)
    found = folder(place, name, text)
    (found.spec.parent / "data.txt").write_text("data", encoding="utf-8")
    return found


@pytest.mark.parametrize("order", [("one", "two"), ("two", "one")], ids=" then ".join)
def test_containers_of_two_specs_go_with_the_last(place: Workplace, order: tuple[str, str]) -> None:
    both = {name: sharing(place, name) for name in ("one", "two")}
    place.endpoints()
    for each in both.values():
        done = each.run("apply", each.spec)
        assert done.code == 0, done.text
    assert "the container 'shared-output' is also used by the spec one" in done.text
    found = containers(place)
    assert found["shared-output"]["batchspec_users"] == "one,two"
    assert found["shared-data"]["batchspec_users"] == "one,two"
    first, last = (both[name] for name in order)
    done = first.run("destroy", first.spec, "-y")
    assert done.code == 0, done.text
    assert f"also used by spec {order[1]}" in " ".join(done.text.split())
    assert containers(place)["shared-output"]["batchspec_users"] == order[1]
    assert blobs(place, "shared-output") == {"one.txt", "two.txt"}
    assert blobs(place, "shared-data") == {"data.txt"}
    done = last.run("destroy", last.spec, "-y")
    assert done.code == 0, done.text
    assert not containers(place)


def test_clean_up_leaves_a_container_that_another_spec_uses(place: Workplace) -> None:
    one, two = sharing(place, "one"), sharing(place, "two", cleanup="always")
    place.endpoints()
    assert one.run("apply", one.spec).code == 0
    done = two.run("apply", two.spec)
    assert done.code == 0, done.text
    assert set(containers(place)) == {"shared-data", "shared-output"}
    # The creator does not delete it either while the other spec uses it.
    one.edit("never", "always")
    one.edit("echo one", "echo changed")
    done = one.run("apply", one.spec)
    assert done.code == 0, done.text
    assert set(containers(place)) == {"shared-data", "shared-output"}


def test_a_container_marked_existing_is_not_deleted_by_its_creator(place: Workplace) -> None:
    one, two = sharing(place, "one"), sharing(place, "two")
    two.edit("{id: shared-data, upload: [data.txt]}", "{id: shared-data, existing: true}")
    place.endpoints()
    assert one.run("apply", one.spec).code == 0
    assert two.run("apply", two.spec).code == 0
    assert one.run("destroy", one.spec, "-y").code == 0
    assert set(containers(place)) == {"shared-data", "shared-output"}
    assert two.run("destroy", two.spec, "-y").code == 0
    assert set(containers(place)) == {"shared-data"}, "what is marked `existing` stays"


BORROWING = """\
version: 1
name: borrower
pool: {existing: my-run}
job: {max_wall_clock_time: 10m}
tasks: {wait: {command: until test -e "GO"; do sleep 0.05; done, logs: false}}
"""


def test_destroy_keeps_a_pool_while_tasks_of_another_spec_run_on_it(place: Workplace) -> None:
    owner, borrower = folder(place, "one", STARTING), folder(place, "two", BORROWING)
    place.endpoints()
    assert owner.run("apply", owner.spec).code == 0
    assert borrower.run("apply", borrower.spec, "--detach").code == 0
    client = batch(place)
    for _ in range(2):  # The second command finds only the pool.
        kept = owner.run("destroy", owner.spec, "-y")
        assert kept.code == 0, kept.text
        text = " ".join(kept.text.split())
        assert "tasks of the job 'borrower' of the spec 'borrower' have not ended" in text
        assert f"batchspec destroy {owner.spec} --force" in text
        assert [pool.id for pool in client.list_pools()] == ["my-run"]
        assert [job.id for job in client.list_jobs()] == ["borrower"]
    assert "Nothing to delete but the pool" in kept.text
    place.let_go()
    assert borrower.run("attach", borrower.spec).code == 0
    done = owner.run("destroy", owner.spec, "-y")
    assert done.code == 0, done.text
    assert "[pool-in-use]" not in done.text
    assert not list(client.list_pools())


def test_destroy_with_force_deletes_a_pool_that_another_spec_uses(place: Workplace) -> None:
    owner, borrower = folder(place, "one", STARTING), folder(place, "two", BORROWING)
    place.endpoints()
    assert owner.run("apply", owner.spec).code == 0
    assert borrower.run("apply", borrower.spec, "--detach").code == 0
    done = owner.run("destroy", owner.spec, "--force", "-y")
    assert done.code == 0, done.text
    assert not list(batch(place).list_pools())


STARTING = """\
version: 1
name: my-run
pool: {vm_size: standard_d2s_v5, nodes: 1, image: ubuntu-24.04, start_task: {command: echo ours}}
job: {max_wall_clock_time: 10m}
tasks: {say: {command: echo done, logs: false}}
cleanup: {pool: never}
"""


def drift_of(place: Workplace) -> str:
    """The changes by another client that a plan shows; empty if none."""
    planned = place.run("plan", place.spec)
    assert planned.code == 0, planned.text
    return planned.text if "[pool-drift]" in planned.text else ""


def test_what_another_client_changes_about_the_pool_is_shown(place: Workplace) -> None:
    place.spec.write_text(STARTING, encoding="utf-8")
    assert place.run("apply", place.spec).code == 0
    assert not drift_of(place), "what the service fills in is no drift"
    client = batch(place)
    start = BatchStartTask(command_line="/bin/sh -c 'echo theirs'")
    client.update_pool("my-run", BatchPoolUpdateOptions(start_task=start))
    shown = drift_of(place)
    assert "echo theirs" in shown
    assert "echo ours" in shown
    # An update by batchspec is no drift; a later change by another client is.
    place.edit("echo ours", "echo edited")
    place.edit("echo done", "echo again")
    assert place.run("apply", place.spec, "-y").code == 0
    assert not drift_of(place)
    start = BatchStartTask(command_line="/bin/sh -c 'echo edited'", max_task_retry_count=3)
    client.update_pool("my-run", BatchPoolUpdateOptions(start_task=start))
    assert "startTask.maxTaskRetryCount: 3 -> unset" in drift_of(place)


def test_a_start_task_that_another_client_adds_is_shown(place: Workplace) -> None:
    text = STARTING.replace(", start_task: {command: echo ours}", "")
    place.spec.write_text(text, encoding="utf-8")
    assert place.run("apply", place.spec).code == 0
    assert not drift_of(place)
    start = BatchStartTask(command_line="/bin/sh -c 'echo theirs'")
    batch(place).update_pool("my-run", BatchPoolUpdateOptions(start_task=start))
    assert "startTask:" in drift_of(place)
