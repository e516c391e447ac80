"""Outputs that do not arrive are reported, and fail the run where they are required."""

from __future__ import annotations

import pytest
from azure.storage.blob import BlobServiceClient

from tests.e2e.conftest import Workplace, until

SPEC = """\
version: 1
name: writing
containers: {output: {}}
pool: {vm_size: standard_d2s_v5, nodes: 1, image: ubuntu-24.04}
job: {max_wall_clock_time: 10m}
tasks:
  say:
    for_each: {range: [0, 3]}
    command: COMMAND
    outputs: [OUTPUT]
results: [{container: output, to: results/}]
"""


def applied(place: Workplace, command: str, output: str) -> tuple[int, str]:
    text = SPEC.replace("COMMAND", command).replace("OUTPUT", output)
    place.spec.write_text(text, encoding="utf-8")
    done = place.run("apply", place.spec)
    return done.code, " ".join(done.text.split())


NAMED = '{files: out.txt, container: output, path: "{{ index }}.txt"MORE}'
FOLDER = '{files: "out/**/*.csv", container: output, path: "{{ task.id }}/"MORE}'
SHARED = '{files: "*.csv", container: output, path: shared/MORE}'
MOST = "mkdir -p out/a; [ {{ index }} = 1 ] || echo x | tee out.txt out/a/b.csv > {{ index }}.csv"
ALL = "mkdir -p out/a; echo x | tee out.txt out/a/b.csv > {{ index }}.csv"


@pytest.mark.parametrize(
    ("command", "output", "words"),
    [
        (MOST, NAMED, "output 'out.txt' of stage say: not uploaded for 1 of 3 tasks"),
        (MOST, FOLDER, "output 'out/**/*.csv' of stage say: no file matched for 1 of 3 tasks"),
        ("exit 0", SHARED, "output '*.csv' of stage say: no file matched for 3 of 3 tasks"),
        (ALL, NAMED, ""),
        (ALL, FOLDER, ""),
        (MOST, SHARED, "output '*.csv' of stage say: no file matched for 1 of 3 tasks"),
        ("exit 0", NAMED.replace("MORE", ", when: failure"), ""),
    ],
    ids=["name", "sub-folders", "pattern", "all-names", "all-folders", "shared", "failure"],
)
def test_a_missing_output_is_a_warning(
    place: Workplace, command: str, output: str, words: str
) -> None:
    code, text = applied(place, command, output.replace("MORE", ""))
    assert code == 0, text
    assert ("output-missing" in text) == bool(words)
    assert words in text


def test_a_missing_required_output_fails_the_run_and_is_not_forgotten(place: Workplace) -> None:
    required = NAMED.replace("MORE", ", required: true")
    code, text = applied(place, MOST, required)
    assert code == 3, text
    assert "not uploaded for 1 of 3 tasks" in text
    assert "Missing in container output: 1.txt" in text
    assert sorted(p.name for p in (place.spec.parent / "results").iterdir()) == ["0.txt", "2.txt"]
    again = place.run("apply", place.spec)
    assert again.code != 0, again.text
    assert "Nothing to do" not in again.text
    code, text = applied(place, ALL, required)
    assert code == 0, text
    assert len(list((place.spec.parent / "results").iterdir())) == 3
    assert place.run("plan", place.spec, "--exit-code").code == 0


WAITING = (
    'if [ {{ index }} = 2 ]; then until test -e "GO"; do sleep 0.05; done; fi; echo x > out.txt'
)


@pytest.mark.parametrize("more", ["", ", required: true"], ids=["optional", "required"])
def test_outputs_that_the_storage_loses_during_a_run_are_repeated_by_the_next_apply(
    place: Workplace, more: str
) -> None:
    go = place.folder / "go"
    text = SPEC.replace("COMMAND", WAITING.replace("GO", str(go)))
    place.spec.write_text(text.replace("OUTPUT", NAMED.replace("MORE", more)), encoding="utf-8")
    run = place.start("apply", place.spec)
    until(run, "2 of 3 tasks done")
    connection = place.endpoints().connection_string
    with BlobServiceClient.from_connection_string(connection) as service:
        for name in ("output", "writing-logs"):
            container = service.get_container_client(name)
            for blob in list(container.list_blob_names()):
                container.delete_blob(blob)
    go.touch()
    assert "outputs of 2 tasks were deleted or lost" in until(run, "exit code 3")
    assert run.wait(timeout=60) == 3
    assert not list((place.spec.parent / "results").glob("[01].txt"))
    plan = place.run("plan", place.spec)
    assert "2 with missing outputs" in plan.text
    again = place.run("apply", place.spec)
    assert again.code == 0, again.text
    assert len(list((place.spec.parent / "results").iterdir())) == 3
    assert place.run("plan", place.spec, "--exit-code").code == 0
