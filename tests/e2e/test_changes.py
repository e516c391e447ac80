"""Changes of an existing pool or job reach its nodes and tasks, on the service."""

from __future__ import annotations

from azure.batch import BatchClient
from azure.core.credentials import AzureNamedKeyCredential

from tests.e2e.conftest import Workplace

SPEC = """\
version: 1
name: changing
containers:
  application: {upload: [program.sh]}
  output: {}
pool:
  vm_size: standard_d2s_v5
  nodes: 2
  image: ubuntu-24.04
  start_task: {command: cp program.sh "$AZ_BATCH_NODE_SHARED_DIR/", resources: [application]}
job: {max_wall_clock_time: 10m, env: {WORD: first}}
tasks:
  say:
    for_each: {range: [0, 4]}
    command: sh "$AZ_BATCH_NODE_SHARED_DIR/program.sh" > said.txt
    outputs: [{files: said.txt, container: output, path: "{{ index }}.txt"}]
    logs: false
results: [{container: output, to: results/}]
cleanup: {pool: never}
"""


def prepared(place: Workplace, program: str) -> BatchClient:
    place.spec.write_text(SPEC, encoding="utf-8")
    (place.spec.parent / "program.sh").write_text(program, encoding="utf-8")
    ends = place.endpoints()
    return BatchClient(ends.batch_url, AzureNamedKeyCredential(ends.batch_account, ends.batch_key))


def said(place: Workplace) -> set[str]:
    folder = place.spec.parent / "results"
    return {path.read_text(encoding="utf-8") for path in folder.iterdir()}


def flat(text: str) -> str:
    """A plan without line breaks."""
    return " ".join(text.split())


def test_a_new_program_and_size_reach_the_nodes_of_a_pool_that_stays(place: Workplace) -> None:
    client = prepared(place, "echo one\n")
    done = place.run("apply", place.spec, "-y")
    assert done.code == 0, done.text
    assert said(place) == {"one\n"}
    made = client.get_pool("changing").creation_time
    (place.spec.parent / "program.sh").write_text("echo two\n", encoding="utf-8")
    place.edit("nodes: 2", "nodes: 1")
    done = place.run("apply", place.spec)
    assert done.code == 0, done.text
    assert "its nodes restart" in flat(done.out)
    assert said(place) == {"two\n"}
    pool = client.get_pool("changing")
    assert (pool.creation_time, pool.target_dedicated_nodes) == (made, 1)
    place.edit("standard_d2s_v5", "standard_d4s_v5")
    place.edit("[0, 4]", "[0, 5]")
    refused = place.run("apply", place.spec)
    assert refused.code == 2, "it asks before it replaces, and there is nobody"
    done = place.run("apply", place.spec, "-y")
    assert done.code == 0, done.text
    assert "vmSize: standard_d2s_v5 -> standard_d4s_v5" in flat(done.out)
    pool = client.get_pool("changing")
    assert pool.creation_time != made
    assert pool.vm_size == "standard_d4s_v5"
    assert place.run("plan", place.spec, "--exit-code").code == 0


def test_a_job_that_cannot_be_changed_makes_way_for_the_next(place: Workplace) -> None:
    client = prepared(place, 'if [ "$WORD" = first ]; then sleep 600; fi\necho $WORD\n')
    done = place.run("apply", place.spec, "--detach", "-y")
    assert done.code == 0, done.text
    place.edit("WORD: first", "WORD: second")
    done = place.run("apply", place.spec, "-y")
    assert done.code == 0, done.text
    assert "continues as changing-r2" in flat(done.out)
    assert said(place) == {"second\n"}
    assert client.get_job("changing").execution_info.termination_reason == "Replaced"
    assert place.run("plan", place.spec, "--exit-code").code == 0


def test_a_pool_whose_id_changed_is_reported_and_destroyed(place: Workplace) -> None:
    client = prepared(place, "echo one\n")
    assert place.run("apply", place.spec, "-y").code == 0
    place.edit("pool:\n", "pool:\n  id: changing-large\n")
    remains = "the pool 'changing' of an earlier version of this spec remains and has 2 nodes"
    planned = place.run("plan", place.spec)
    assert remains in planned.text
    assert "poolInfo.poolId: changing -> changing-large" in flat(planned.out)
    assert (
        "changing: of an earlier version of the spec, 2 nodes"
        in place.run("status", place.spec).out
    )
    assert place.run("apply", place.spec, "--rerun", "-y").code == 0
    assert {pool.id for pool in client.list_pools()} == {"changing", "changing-large"}
    assert remains in place.run("plan", place.spec).text
    destroyed = place.run("destroy", place.spec, "-y")
    assert destroyed.code == 0, destroyed.text
    assert not list(client.list_pools())


def test_results_in_a_folder_of_inputs_are_not_uploaded_without_a_question(
    place: Workplace,
) -> None:
    place.spec.write_text(
        SPEC.replace("[program.sh]", "['items/**/*']")
        .replace("{range: [0, 4]}", "{files: application}")
        .replace("{{ index }}.txt", "{{ file.name }}.out")
        .replace('cp program.sh "$AZ_BATCH_NODE_SHARED_DIR/"', "hostname")
        .replace('sh "$AZ_BATCH_NODE_SHARED_DIR/program.sh"', "echo {{ file.name }}")
        .replace("to: results/", "to: items/results/"),
        encoding="utf-8",
    )
    items = place.spec.parent / "items"
    items.mkdir()
    (items / "a").write_text("a", encoding="utf-8")
    checked = place.run("validate", place.spec)
    assert "[upload-includes-results]" in checked.text
    assert place.run("apply", place.spec).code == 0
    asked = place.run("apply", place.spec)
    assert asked.code == 2, asked.text
    assert "[results-as-inputs]" in asked.text
    assert "items/results/a.out" in asked.text
    place.edit("['items/**/*']", '[{files: "items/**/*", exclude: ["results/*"]}]')
    done = place.run("apply", place.spec)
    assert (done.code, "Nothing to do" in done.text) == (0, True), done.text
    assert sorted(path.name for path in items.rglob("*")) == ["a", "a.out", "results"]
