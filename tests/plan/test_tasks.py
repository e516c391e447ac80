"""Tasks: their bodies, and ids with the digest of their work."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchspec.diagnostics import Secret, SpecError
from batchspec.plan import Task
from batchspec.plan.observed import Blob, LocalFile, Observed
from batchspec.plan.tasks import NAMED, SIGNED, container_resources, expand
from batchspec.spec import (
    BlobUrl,
    EachBlob,
    EachFile,
    EachNumber,
    EachValue,
    NumberRange,
    Record,
    Rows,
    Shell,
    Spec,
    Stage,
    Target,
    Text,
    thaw,
)
from tests.plan.making import NOW, WHERE, blob, local_file, observed, spec, stage, template
from tests.subprocess_memory import printed_number

FILES = [local_file("a b.txt"), local_file("dir/c.txt")]


def tasks(
    it: Stage, world: Observed | None = None, whole: Spec | None = None, *, windows: bool = False
) -> list[Task]:
    stream = expand(whole or spec(it), it, world or observed(FILES), windows=windows)
    found = list(stream)
    assert len(stream) == len(found)
    assert [task.index for task in found] == list(range(len(found)))
    assert all(task.body["id"] == task.id for task in found)
    return found


def shown(task: Task) -> dict[str, object]:
    body = thaw(task.body, lambda text: text.shown)
    assert isinstance(body, dict)
    return body


def line(task: Task) -> str:
    return str(shown(task)["commandLine"])


# --- bodies ------------------------------------------------------------------------------------


def test_a_task_for_each_file_has_the_file_and_the_command() -> None:
    it = stage(
        "count {{ file.name }} {{ top }} {{ containers.output.write_url }}", EachFile("input")
    )
    whole = spec(it, parameters={"top": 3})
    first, second = tasks(it, whole=whole)
    assert line(first) == """/bin/sh -c 'count '"'"'a b.txt'"'"' 3 "${BATCHSPEC_URL_1}"'"""
    assert line(second) == """/bin/sh -c 'count c.txt 3 "${BATCHSPEC_URL_1}"'"""
    assert first.body["resourceFiles"] == (
        Record(httpUrl=BlobUrl("input", "a b.txt", "r"), filePath="a b.txt"),
    )
    assert second.body["resourceFiles"] == (
        Record(httpUrl=BlobUrl("input", "dir/c.txt", "r"), filePath="c.txt"),
    )
    assert second.inputs == (("input", "dir/c.txt"),)
    assert first.body["environmentSettings"] == (
        Record(name="BATCHSPEC_URL_1", value=Text((BlobUrl("output", None, "cw"),))),
    )


def test_a_group_keeps_the_paths_of_all_files() -> None:
    it = stage("merge {{ files }}", EachFile("input", group=2))
    (task,) = tasks(it)
    assert line(task) == """/bin/sh -c 'merge '"'"'a b.txt'"'"' dir/c.txt'"""
    files = shown(task)["resourceFiles"]
    assert [file["filePath"] for file in files] == ["a b.txt", "dir/c.txt"]  # type: ignore[attr-defined]
    assert task.inputs == (("input", "a b.txt"), ("input", "dir/c.txt"))


def test_tasks_do_not_wait_for_existing_blobs() -> None:
    it = stage("count {{ file.path }}", EachBlob("there"))
    (task,) = tasks(it, observed(blobs=[blob("x/y.txt")]))
    assert task.inputs == ()
    assert task.body["resourceFiles"] == (
        Record(httpUrl=BlobUrl("there", "x/y.txt", "r"), filePath="y.txt"),
    )


@pytest.mark.parametrize(
    "it",
    [stage("count {{ file.path }}", EachBlob("there")), stage("count", resources=("there",))],
    ids=["item", "resources"],
)
def test_a_blob_without_an_md5_that_is_written_again_is_other_work(it: Stage) -> None:
    """Azure stores no MD5 of blobs that clients such as azcopy write in blocks."""
    later = NOW + timedelta(seconds=1)

    def work(there: Blob) -> str:
        (task,) = tasks(it, observed(blobs=[there]))
        return task.id

    assert work(blob("x", None, NOW)) != work(blob("x", None, later))
    assert work(blob("x", None, NOW)) == work(blob("x", None, NOW))
    assert work(blob("x", "a", NOW)) == work(blob("x", "a", later))
    assert work(blob("x", "a", NOW)) != work(blob("x", "b", NOW))


def test_resources_replace_the_file_of_the_item() -> None:
    own = Record(httpUrl="https://x/y", filePath="y")
    it = stage(
        "run", EachFile("input"), resources=("app", "there"), body=Record(resourceFiles=(own,))
    )
    task = tasks(it)[0]
    assert task.body["resourceFiles"] == (
        own,
        Record(httpUrl=BlobUrl("app", "app.py", "r"), filePath="app.py"),
        Record(storageContainerUrl=BlobUrl("there", None, "rl")),
    )
    assert "resourceFiles" not in tasks(stage("run", EachFile("input"), resources=()))[0].body


def test_the_service_lists_a_container_whose_blobs_are_many_or_unknown() -> None:
    whole = spec()
    most = NAMED // (SIGNED + 6)
    few = observed([local_file(f"{n:03}") for n in range(most)])
    many = observed([local_file(f"{n:03}") for n in range(most + 1)])
    long = observed([local_file(f"{n:03}" + "é" * 200) for n in range(most // 2)])
    mine, theirs = whole.containers["input"], whole.containers["there"]
    assert len(container_resources(mine, few.containers["input"])) == most
    everything = (Record(storageContainerUrl=BlobUrl("input", None, "rl")),)
    assert container_resources(mine, many.containers["input"]) == everything
    assert container_resources(mine, long.containers["input"]) == everything
    assert container_resources(mine, few.containers["input"], NAMED // 2) == everything
    assert container_resources(theirs, few.containers["there"]) == (
        Record(storageContainerUrl=BlobUrl("there", None, "rl")),
    )


@pytest.mark.parametrize(
    ("command", "shell", "windows", "expected"),
    [
        ("a {{ v }} && b\n", Shell.DEFAULT, False, """/bin/sh -c 'a '"'"'x y'"'"' && b'"""),
        ("a {{ v }} && b", Shell.DEFAULT, True, 'cmd /c "a "x y" && b"'),
        ("a {{ v }}", Shell.NONE, False, "a 'x y'"),
        ("a {{ v }}", Shell.NONE, True, 'a "x y"'),
        (("a", "{{ v }}", "-{{ v }}", ""), Shell.DEFAULT, False, "a 'x y' '-x y' ''"),
        (("a", "{{ v }}", "%A%"), Shell.DEFAULT, True, 'a "x y" "%A%"'),
    ],
)
def test_command_lines(
    command: str | tuple[str, ...], shell: Shell, windows: bool, expected: str
) -> None:
    it = stage(command, shell=shell)
    (task,) = tasks(it, whole=spec(it, parameters={"v": "x y"}), windows=windows)
    assert line(task) == expected


def test_templates_anywhere_in_the_body_are_filled_in() -> None:
    body = Record(
        displayName=template("{{ index }} of {{ name }}"),
        environmentSettings=(Record(name="ID", value=template("{{ task.id }}")),),
        constraints=Record(maxTaskRetryCount=2),
    )
    it = stage(
        "run {{ job.id }} {{ pool.id }} {{ value }}", EachNumber(NumberRange(4, 6)), body=body
    )
    first, second = tasks(it)
    assert str(second.body["displayName"]).startswith("1 of demo [count item ")
    assert shown(first)["environmentSettings"] == [{"name": "ID", "value": first.id}]
    assert first.body["constraints"] is body["constraints"]
    assert line(second) == "/bin/sh -c 'run job-1 pool-1 5'"


def test_the_innermost_name_wins() -> None:
    row = Record({"name": "column", "the id": "7"})
    it = stage("run {{ name }} {{ row['the id'] }} {{ row.name }}", Rows(spec().path, WHERE))
    (task,) = tasks(it, observed(rows={"count": (row,)}))
    assert line(task) == "/bin/sh -c 'run column 7 column'"


def test_a_secret_is_in_no_text_of_a_task() -> None:
    it = stage(
        "run {{ pw }}",
        body=Record(environmentSettings=(Record(name="P", value=template("{{ pw }}")),)),
    )
    (task,) = tasks(it, whole=spec(it, parameters={"pw": Secret("hunter2")}))
    assert "hunter2" not in f"{task}{shown(task)}"
    sent = thaw(task.body, lambda text: text.resolve(lambda _: "url"))
    assert isinstance(sent, dict)
    assert sent["commandLine"] == "/bin/sh -c 'run hunter2'"


# --- ids ---------------------------------------------------------------------------------------


def ids(it: Stage, world: Observed | None = None, whole: Spec | None = None) -> list[str]:
    return [task.id for task in tasks(it, world, whole)]


BASE = stage("run {{ file.name }} {{ top }} {{ task.id }}", EachFile("input"))


def base_ids(**changed: object) -> list[str]:
    return ids(BASE, whole=spec(BASE, parameters={"top": 3}, **changed))  # type: ignore[arg-type]


def test_ids_contain_stage_and_item_and_are_valid() -> None:
    first, second = base_ids()
    assert first.startswith("count-a-b-")
    assert second.startswith("count-c-")
    assert base_ids() == [first, second]


def test_ids_are_the_same_on_every_machine() -> None:
    """A known answer: if it changes, all tasks of earlier runs count as changed."""
    assert base_ids() == KNOWN


KNOWN = ["count-a-b-6140a2cb1d707f", "count-c-204ab634c3db8b"]


@pytest.mark.parametrize(
    "world",
    [
        observed(FILES, account="another"),
        observed([file._replace(location=f"{file.location}/elsewhere") for file in FILES]),
    ],
    ids=["account", "folder"],
)
def test_the_account_is_not_part_of_an_id(world: Observed) -> None:
    assert ids(BASE, world, spec(BASE, parameters={"top": 3})) == base_ids()


def changed(it: Stage, world: Observed | None = None, **options: object) -> set[str]:
    parameters = {"top": 3, **options.pop("parameters", {})}  # type: ignore[dict-item]
    return set(ids(it, world, spec(it, parameters=parameters, **options)))  # type: ignore[arg-type]


def test_other_work_has_other_ids() -> None:
    every = [
        changed(BASE),
        changed(replace(BASE, name="other")),
        changed(stage("run2 {{ file.name }} {{ top }} {{ task.id }}", EachFile("input"))),
        changed(BASE, parameters={"top": 4}),
        changed(BASE, image="debian-12"),
        changed(BASE, job=Record(commonEnvironmentSettings=(Record(name="A", value="1"),))),
        changed(BASE, observed(FILES, app=[local_file("app.py", "changed")])),
        changed(BASE, observed([local_file(f.blob, "changed") for f in FILES])),
        changed(replace(BASE, body=Record(environmentSettings=(Record(name="A", value="1"),)))),
        changed(replace(BASE, body=Record(containerSettings=Record(imageName="x")))),
        changed(replace(BASE, resources=("there",)), observed(FILES, blobs=[blob("a", "x")])),
        changed(replace(BASE, resources=("there",)), observed(FILES, blobs=[blob("a", "y")])),
        changed(replace(BASE, body=Record(outputFiles=(OUTPUT,)))),
    ]
    for one in range(len(every)):
        for other in range(one):
            assert not every[one] & every[other], (one, other)


OUTPUT = Record(
    filePattern="*.csv",
    destination=Record(container=Record(containerUrl=BlobUrl("output", None, "cw"), path="x")),
)
LOG = Record(
    filePattern="../std*.txt",
    destination=Record(container=Record(path=template("{{ task.id }}"))),
)


def test_the_id_changes_only_with_the_work() -> None:
    same = [
        replace(BASE, body=Record(outputFiles=(LOG,))),
        replace(BASE, body=Record(displayName=template("{{ task.id }}"))),
        replace(BASE, body=Record(constraints=Record(maxTaskRetryCount=3))),
        replace(BASE, needs=("x",)),
    ]
    assert {frozenset(changed(it)) for it in same} == {frozenset(changed(BASE))}


def test_a_secret_is_not_part_of_an_id() -> None:
    it = stage("run {{ pw }}")
    assert changed(it, parameters={"pw": Secret("a")}) == changed(
        it, parameters={"pw": Secret("b")}
    )


def test_the_id_may_be_used_in_any_way_in_the_command() -> None:
    it = stage("run {{ task.id | upper | hash(40) }}", EachNumber(NumberRange(0, 2)))
    lines = {line(task) for task in tasks(it)}
    assert len(lines) == 2
    it = stage("run {{ task.id | upper }}")
    (task,) = tasks(it)
    assert line(task) == f"/bin/sh -c 'run {task.id.upper()}'"


words = st.text(st.characters(exclude_categories=["Cs"]), max_size=80)


@given(words, st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True))
def test_every_id_fits_with_any_name_of_the_item(text: str, name: str) -> None:
    it = stage("run", EachValue((text,)), name=name)
    (made,) = ids(it)
    assert len(made) <= 64
    assert made.isascii()
    assert made.replace("-", "").replace("_", "").isalnum()


def test_the_digest_distinguishes_items_with_equal_words() -> None:
    it = stage("run {{ value }}", EachValue(("ä b", "a-b", "a b", "a/b")))
    made = ids(it)
    assert {name.rpartition("-")[0] for name in made} == {"count-a-b"}
    assert len(set(made)) == 4


def test_an_explicit_id() -> None:
    it = stage(
        "run {{ task.id }}", EachFile("input"), task_id="t-{{ index }}-{{ file.stem | slug }}"
    )
    assert [(task.id, line(task)) for task in tasks(it)] == [
        ("t-0-a-b", "/bin/sh -c 'run t-0-a-b'"),
        ("t-1-c", "/bin/sh -c 'run t-1-c'"),
    ]


@pytest.mark.parametrize(
    ("own", "words"),
    [
        ("{{ file.name }}", "letters, digits"),
        ("{{ 'x' * 65 }}", "64 characters"),
        ("", "letters, digits"),
        ("{{ pw }}", "secret"),
    ],
)
def test_an_invalid_id_is_reported_with_position_and_item(own: str, words: str) -> None:
    it = stage("run", EachFile("input"), task_id=own)
    with pytest.raises(SpecError) as caught:
        tasks(it, whole=spec(it, parameters={"pw": Secret("hunter2")}))
    (problem,) = caught.value.problems
    assert words in problem.summary
    assert problem.where == template(own).where
    assert "index 0" in problem.detail
    assert "hunter2" not in str(problem)


# --- size --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ManyFiles:
    """Files that are created on iteration."""

    number: int

    def __iter__(self) -> Iterator[LocalFile]:
        return (local_file(f"{n:07}.txt") for n in range(self.number))

    def __len__(self) -> int:
        return self.number


def peak(number: int) -> int:
    it = stage("run {{ file.name }} {{ containers.output.write_url }}", EachFile("input"))
    world = observed()
    facts = replace(world.containers["input"], files=ManyFiles(number))
    world = replace(world, containers={**world.containers, "input": facts})
    stream = expand(spec(it), it, world, windows=False)
    tracemalloc.start()
    try:
        assert sum(1 for _ in stream) == number
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_tasks_are_streamed() -> None:
    program = f"from {__name__} import peak; peak(10); print(peak(4_000))"
    assert printed_number(program) < 1_000_000


def test_the_length_is_known_without_creating_a_task() -> None:
    it = stage("{{ 1 / 0 }}", EachNumber(NumberRange(0, 10**9)))
    assert len(expand(spec(it), it, observed(), windows=False)) == 10**9


def test_the_path_of_an_output_whose_name_is_escaped_is_a_folder() -> None:
    url = Text((BlobUrl("output", None, "cw"),))

    def output(pattern: str, path: str) -> Record:
        container = Record(containerUrl=url, path=template(path))
        return Record(
            filePattern=replace(template(pattern), target=Target.PATTERN),
            destination=Record(container=container),
        )

    files = (output("out/{{ value }}.csv", "x/{{ value }}.csv"), output("{{ value }}/*", "x"))
    it = stage("run", EachValue(("a", "b*")), body=Record(outputFiles=files))
    found = [
        (file["filePattern"], file["destination"]["container"].get("path"))  # type: ignore[index]
        for task in tasks(it)
        for file in shown(task)["outputFiles"]  # type: ignore[attr-defined]
    ]
    assert found == [
        ("out/a.csv", "x/a.csv"),
        ("a/*", "x"),
        ("out/b[*].csv", "x"),
        ("b[*]/*", "x"),
    ]


def test_an_output_whose_name_is_escaped_cannot_be_renamed() -> None:
    container = Record(containerUrl=Text((BlobUrl("output"),)), path=template("{{ value }}.txt"))
    file = Record(
        filePattern=replace(template("{{ value }}.csv"), target=Target.PATTERN),
        destination=Record(container=container),
    )
    it = stage("run", EachValue(("b*",)), body=Record(outputFiles=(file,)))
    with pytest.raises(SpecError) as caught:
        tasks(it)
    assert caught.value.problems[0].code == "renamed-output"
