"""Reading a spec: the values that other packages use."""

from __future__ import annotations

import shlex
from datetime import timedelta
from pathlib import Path

import pytest

from batchspec.diagnostics import SpecError
from batchspec.spec import (
    BlobUrl,
    Cleanup,
    EachFile,
    EachNumber,
    EachValue,
    FlawedSpecError,
    Matrix,
    NumberRange,
    Once,
    PoolKind,
    Record,
    Rows,
    Scale,
    Shell,
    Spec,
    Template,
    Text,
    Value,
    ValueSources,
    When,
    read_spec,
    thaw,
)

ROOT = Path(__file__).parents[2]
GOOD = Path(__file__).parent / "good"

BASE = {
    "pool": "{vm_size: standard_d2s_v5, nodes: 1, image: ubuntu-24.04}",
    "job": "{max_wall_clock_time: 1h}",
    "tasks": "{run: {command: echo hello, logs: false}}",
}


def spec(tmp_path: Path, **sections: str) -> Spec:
    path = tmp_path / "spec.yaml"
    lines = [f"{key}: {text}" for key, text in {**BASE, **sections}.items()]
    path.write_text("\n".join(["version: 1", "name: demo", *lines]) + "\n")
    return read_spec(path)


def shown(value: Value) -> object:
    return thaw(value, lambda text: text.shown)


def test_the_tutorial() -> None:
    found = read_spec(ROOT / "specs" / "topn.yaml")
    assert found.name == "topn"
    assert found.parameters == {"top": 3}
    assert [(c.key, c.id, c.implied) for c in found.containers.values()] == [
        ("application", "application", False),
        ("input", "input", False),
        ("output", "output", False),
        ("logs", "topn-logs", True),
    ]
    glob = found.containers["input"].upload[0]
    assert (glob.pattern, glob.exclude, glob.root) == ("data/*.txt", ("*.bak",), ROOT / "specs")
    assert (found.pool.kind, found.pool.id, found.pool.windows) == (PoolKind.OWN, "topn", False)
    assert found.pool.image is not None
    assert found.pool.image.name == "ubuntu-24.04"
    assert found.pool.start_containers == ("application",)
    assert shown(found.pool.properties) == {
        "id": "topn",
        "vmSize": "standard_d2s_v5",
        "targetDedicatedNodes": 3,
        "startTask": {"commandLine": "/bin/sh -c 'cp topn.py \"$AZ_BATCH_NODE_SHARED_DIR/\"'"},
    }
    assert (found.job.id, found.job.limit) == ("topn", timedelta(minutes=30))
    assert shown(found.job.properties) == {
        "id": "topn",
        "constraints": {"maxWallClockTime": "PT30M"},
    }
    (stage,) = found.stages
    assert (stage.name, stage.for_each) == ("count", EachFile("input"))
    assert (stage.resources, stage.needs, stage.logs) == (None, (), "logs")
    assert (stage.command.shell, stage.command.arguments) == (Shell.DEFAULT, ())
    assert stage.command.template is not None
    assert stage.command.template.source.endswith("{{ file.name }} {{ top }}")
    assert [(r.container, r.to.resolve()) for r in found.results] == [("output", ROOT / "results")]
    assert found.cleanup == Cleanup(When.ON_SUCCESS, When.ASK, When.ASK)
    assert found.warnings == ()


def test_windows_follows_from_the_image() -> None:
    found = read_spec(ROOT / "specs" / "topn-windows.yaml")
    assert found.pool.windows is True
    start = found.pool.properties["startTask"]
    assert isinstance(start, Record)
    assert str(start["commandLine"]).startswith('cmd /c "robocopy ')


def test_items() -> None:
    found = read_spec(GOOD / "items.yaml")
    sources = {stage.name: stage.for_each for stage in found.stages}
    assert sources["files"] == EachFile("input", ("*.txt", "sub/*"), 10)
    assert sources["sweep"] == Matrix(
        (("size", (10, 100)), ("seed", NumberRange(0, 10, 2)), ("mode", ("fast", "slow"))),
        (Record(size=10, mode="slow"),),
        (Record(size=5, seed=1, mode="odd"),),
    )
    assert sources["numbers"] == EachNumber(NumberRange(0, 1, 0.25))
    assert sources["values"] == EachValue(("red", Record(colour="green"), 3, True))
    rows = sources["rows"]
    assert isinstance(rows, Rows)
    assert rows.path == GOOD / "runs.csv"
    shells = {stage.name: stage.command.shell for stage in found.stages}
    assert (shells["numbers"], shells["values"], shells["rows"]) == (
        Shell.NONE,
        Shell.NONE,
        Shell.DEFAULT,
    )


def test_stages() -> None:
    found = read_spec(GOOD / "stages.yaml")
    fetch, count, mpi, _ = found.stages
    assert isinstance(fetch.for_each, Once)
    assert fetch.command.template is None
    assert [item.source for item in fetch.command.arguments] == [
        "python3",
        "fetch.py",
        "{{ name }}",
        "a b",
    ]
    assert count.id is not None
    assert count.id.source == "count-{{ index }}"
    assert (count.resources, count.needs, count.logs) == (("models",), ("fetch",), "output")
    settings = count.body["environmentSettings"]
    assert isinstance(settings, tuple)
    which, out = settings
    assert isinstance(which, Record)
    assert isinstance(out, Record)
    assert isinstance(which["value"], Template), "differs from task to task"
    assert out["value"] == Text((BlobUrl("output"),)), "is the same for all"
    assert (mpi.logs, mpi.needs) == (None, ("count",))
    assert found.job.properties["usesTaskDependencies"] is True
    assert "commandLine" not in mpi.body
    assert "id" not in count.body


def test_an_auto_pool(tmp_path: Path) -> None:
    pool = "{lifetime: job, id: pre, vm_size: s, nodes: 2, image: ubuntu-24.04}"
    found = spec(tmp_path, pool=pool).pool
    assert found.kind is PoolKind.JOB
    assert shown(found.properties) == {"vmSize": "s", "targetDedicatedNodes": 2}
    assert dict(found.auto) == {
        "poolLifetimeOption": "job",
        "keepAlive": False,
        "autoPoolIdPrefix": "pre",
    }


def test_an_existing_pool(tmp_path: Path) -> None:
    found = spec(tmp_path, pool="{existing: theirs}", cleanup="{pool: ask}")
    assert (found.pool.kind, found.pool.id, found.pool.windows) == (
        PoolKind.EXISTING,
        "theirs",
        None,
    )
    assert [(w.code, w.where and w.where.line) for w in found.warnings] == [("no-effect", 6)]


def test_logs_go_to_a_container_named_logs(tmp_path: Path) -> None:
    tasks = "{run: {command: echo hello}}"
    found = spec(tmp_path, tasks=tasks, containers="{logs: {id: my-logs}}")
    assert [(c.key, c.id, c.implied) for c in found.containers.values()] == [
        ("logs", "my-logs", False)
    ]
    (stage,) = found.stages
    assert stage.logs == "logs"
    files = stage.body["outputFiles"]
    assert isinstance(files, tuple)
    (file,) = files
    assert isinstance(file, Record)
    assert file["filePattern"] == "../std*.txt"
    assert file["uploadOptions"] == Record(uploadCondition="taskcompletion")


def test_disabled_logs_need_no_container(tmp_path: Path) -> None:
    found = spec(tmp_path)
    assert found.containers == {}
    assert found.stages[0].logs is None
    assert "outputFiles" not in found.stages[0].body


@pytest.mark.parametrize(("value", "kept"), [("true", True), ("false", False)])
def test_a_parameter_decides_whether_logs_are_kept(tmp_path: Path, value: str, kept: bool) -> None:
    path = tmp_path / "spec.yaml"
    rest = "".join(f"{k}: {v}\n" for k, v in BASE.items() if k != "tasks")
    path.write_text(
        "version: 1\nname: topn\nparameters: {keep: {type: boolean, default: true}}\n"
        f"{rest}tasks: {{run: {{command: echo, logs: '{{{{ keep }}}}'}}}}\n"
    )
    found = read_spec(path, ValueSources({"keep": value}))
    assert ("logs" in found.containers) is kept
    assert (found.stages[0].logs is not None) is kept


@pytest.mark.parametrize(
    ("name", "container"),
    [
        ("topn", "topn-logs"),
        ("My_Run", "my-run-logs"),
        ("_", "logs"),
        ("x" * 64, "x" * 58 + "-logs"),
    ],
)
def test_the_name_of_the_container_of_logs(tmp_path: Path, name: str, container: str) -> None:
    path = tmp_path / "spec.yaml"
    rest = "".join(f"{k}: {v}\n" for k, v in BASE.items() if k != "tasks")
    path.write_text(f"version: 1\nname: {name}\n{rest}tasks: {{run: {{command: echo}}}}\n")
    assert read_spec(path).containers["logs"].id == container


def test_a_url_in_a_start_task_is_resolved_at_submission(tmp_path: Path) -> None:
    pool = (
        '{vm_size: s, nodes: 1, image: ubuntu-24.04, start_task: {command: "get {{'
        ' containers.data.read_url }}"}}'
    )
    found = spec(tmp_path, pool=pool, containers="{data: {existing: true}}")
    start = found.pool.properties["startTask"]
    assert isinstance(start, Record)
    line = start["commandLine"]
    assert isinstance(line, Text)
    assert line.shown == "/bin/sh -c 'get <sas>'"
    argv = shlex.split(line.resolve(lambda _: "https://a/b?x=1&y='"))
    assert argv[:2] == ["/bin/sh", "-c"]
    assert shlex.split(argv[2]) == ["get", "https://a/b?x=1&y='"]
    assert list(line.urls()) == [BlobUrl("data", None, "rl")]


def test_a_path_that_ends_in_a_slash_is_a_folder(tmp_path: Path) -> None:
    """The service takes the path of a pattern without wildcards as the name of the blob."""
    tasks = (
        "{run: {command: x, logs: false, outputs: ["
        "{files: a.txt, container: output, path: some/}, {files: '*.txt', container: output,"
        " path: some/}, {files: a.txt, container: output, path: b.txt}]}}"
    )
    found = spec(tmp_path, tasks=tasks, containers="{output: {}}")
    files = found.stages[0].body["outputFiles"]
    assert isinstance(files, tuple)
    paths = [shown(file)["destination"]["container"]["path"] for file in files]  # type: ignore[index]
    assert paths == ["some/a.txt", "some", "b.txt"]


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        *(
            ("90s", "PT1M30S"),
            ("30m", "PT30M"),
            ("2h", "PT2H"),
            ("7d", "P7D"),
            ("1h30m", "PT1H30M"),
        ),
        *(("PT30M", "PT30M"), ("P1W", "P7D"), ("PT36H", "P1DT12H"), ("1.5s", "PT1.5S")),
        *(("PT0.25S", "PT0.25S"), ("P1DT1S", "P1DT1S"), ("100d", "P100D")),
    ],
)
def test_durations(tmp_path: Path, written: str, sent: str) -> None:
    tasks = f"{{run: {{command: x, retention: {written}}}}}"
    found = spec(tmp_path, tasks=tasks)
    assert found.stages[0].body["constraints"] == Record(retentionTime=sent)


@pytest.mark.parametrize(
    "written",
    [
        "''",
        "30",
        "30.5",
        "m",
        "1h 30m",
        "30m1h",
        "-5m",
        "P",
        "PT",
        "P1Y",
        "1.5h",
        "٣m",
    ],
)
def test_invalid_durations(tmp_path: Path, written: str) -> None:
    with pytest.raises(SpecError) as caught:
        spec(tmp_path, tasks=f"{{run: {{command: x, retention: {written}}}}}")
    assert [problem.code for problem in caught.value.problems] == ["not-a-duration"]


def test_equivalent_specs_have_the_same_digest(tmp_path: Path) -> None:
    short = spec(tmp_path, tasks="{run: {command: x, slots: 1}}")
    spaced = spec(tmp_path, tasks="{ run:  {command: 'x',   required_slots: 1} } # same")
    other = spec(tmp_path, tasks="{run: {command: y, slots: 1}}")
    assert short.digest == spaced.digest
    assert short.digest != other.digest


def test_the_digest_does_not_depend_on_the_folder(tmp_path: Path) -> None:
    (tmp_path / "deeper").mkdir()
    assert spec(tmp_path).digest == spec(tmp_path / "deeper").digest


def test_the_formula_of_scale() -> None:
    formula = Scale(least=1, most=10, most_spot=0, idle=timedelta(minutes=15), slots=4).formula
    assert formula == (
        "known = $PendingTasks.GetSamplePercent(TimeInterval_Second * 900) >= 70;\n"
        "last = max(0, $PendingTasks.GetSample(1));\n"
        "most = known ? max(last, max($PendingTasks.GetSample(TimeInterval_Second * 900)))"
        " : max(last, 1);\n"
        "wanted = (most + 3) / 4;\n"
        "$TargetDedicatedNodes = min(10, max(1, wanted));\n"
        "$NodeDeallocationOption = taskcompletion;"
    )


def test_required_outputs_are_found_among_the_output_files(tmp_path: Path) -> None:
    tasks = """
  run:
    command: echo hello
    output_files:
      - file_pattern: first
        destination: {container: {container_url: "{{ containers.output.url }}"}}
        upload_options: {upload_condition: tasksuccess}
    outputs:
      - {files: second, container: output}
      - {files: third, container: output, required: true}
      - files: fourth
        container: output
        required: false
        when: "{{ 'always' if index else 'failure' }}"
"""
    stage = spec(tmp_path, containers="{output: {}}", tasks=tasks).stages[0]
    files = stage.body["outputFiles"]
    assert isinstance(files, tuple)
    patterns = [file["filePattern"] for file in files if isinstance(file, Record)]
    assert patterns == ["first", "../std*.txt", "second", "third", "fourth"]
    assert {patterns[index] for index in stage.required} == {"third"}


def test_a_required_output_keeps_the_order_of_the_outputs(tmp_path: Path) -> None:
    def patterns(more: str) -> list[str]:
        tasks = (
            "{run: {command: echo hello, logs: false, outputs: ["
            f"{{files: a, container: output{more}}}, {{files: b, container: output}}]}}}}"
        )
        files = spec(tmp_path, containers="{output: {}}", tasks=tasks).stages[0].body["outputFiles"]
        assert isinstance(files, tuple)
        return [str(file["filePattern"]) for file in files if isinstance(file, Record)]

    assert patterns("") == patterns(", required: true") == ["a", "b"]


def test_valid_parts_of_a_spec_with_errors_are_available(tmp_path: Path) -> None:
    """The valid parts are used to report missing files and findings together with the errors."""
    uploads = "{input: {upload: ['a.txt', '{{ later }}/*.csv', {path: x/}]}}"
    wrong_value = "{run: {command: echo hello, max_wall_clock_time: 0s}}"
    with pytest.raises(FlawedSpecError) as caught:
        spec(tmp_path, containers="{input: {upload: [a.txt]}}", tasks=wrong_value)
    assert caught.value.spec is not None
    assert [container.key for container in caught.value.containers] == ["input", "logs"]
    with pytest.raises(FlawedSpecError) as caught:
        spec(tmp_path, containers=uploads, tasks="{run: {}}", parameters="{later: {}}")
    assert caught.value.spec is None
    assert [glob.pattern for glob in caught.value.containers[0].upload] == ["a.txt"]


def test_a_missing_secret_is_reported_together_with_other_errors(tmp_path: Path) -> None:
    with pytest.raises(FlawedSpecError) as caught:
        spec(tmp_path, parameters="{key: {secret: true}}", description="'{{ key | upper }}'")
    codes = [problem.code for problem in caught.value.problems]
    assert codes == ["missing-variable", "template-value"]
