"""Bodies from the template of a stage equal bodies that are created object by object."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias
from unittest.mock import patch

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from batchspec.diagnostics import Diagnostic, Secret, SpecError
from batchspec.plan import tasks
from batchspec.spec import (
    BlobUrl,
    EachNumber,
    EachValue,
    FilledRecord,
    Kind,
    NumberRange,
    Record,
    Template,
    Text,
    UnquotableError,
    Value,
    ValueSources,
    json_texts,
    read_spec,
)
from tests.plan.making import WHERE, observed, spec, stage, template
from tests.plan.test_any_spec import observed as observed_of
from tests.spec.test_mutations import GOOD, SECRETS, as_text, trees

MOST = 50
"""The number of tasks of a stage that are compared."""


def made_twice(expand: Callable[[], tasks.Expansion]) -> int:
    """Compare tasks with those created object by object; return the number from a template."""
    found = list(made(expand))
    with patch.object(tasks, "has_template", lambda *_: False):
        plain = list(made(expand))
    assert [text_of(each) for each in found] == [text_of(each) for each in plain]
    assert found == plain
    return sum(isinstance(each, tasks.Task) and is_filled(each) for each in found)


Made: TypeAlias = tasks.Task | tuple[Diagnostic, ...]


def made(expand: Callable[[], tasks.Expansion]) -> Iterator[Made]:
    """The first tasks, or the errors that prevent them."""
    try:
        found = expand()
        for index, item in islice(enumerate(found.items), MOST):
            try:
                yield found.maker.task(index, item)
            except SpecError as error:
                yield error.problems
    except SpecError as error:
        yield error.problems


def is_filled(task: tasks.Task) -> bool:
    return isinstance(task.body, FilledRecord)


def text_of(each: Made) -> object:
    if not isinstance(each, tasks.Task):
        return each
    try:
        return json_texts([each.body], resolved)
    except UnquotableError as error:
        return str(error)


def resolved(text: Text) -> str:
    return text.resolve(lambda url: f"https://{url}?sig=%s")


@settings(max_examples=60, deadline=None)
@given(trees())
def test_changed_specs(tmp_path_factory: pytest.TempPathFactory, tree: dict[str, Any]) -> None:
    path = tmp_path_factory.getbasetemp() / "changed.yaml"
    path.write_text(as_text(tree), encoding="utf-8", errors="surrogatepass", newline="")
    compare(path, SECRETS.get(str(tree.get("name")), {}))


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.stem)
def test_specs(path: Path) -> None:
    compare(path, SECRETS.get(path.stem, {}))


def compare(path: Path, given: dict[str, str]) -> None:
    try:
        spec = read_spec(path, ValueSources(given))
        world = observed_of(spec)
    except SpecError:
        return
    for each in spec.stages:
        windows = bool(spec.pool.windows)
        made_twice(partial(tasks.expand, spec, each, world, windows=windows))


VALUES = st.one_of(
    st.text(),
    st.sampled_from(["", "%s", "%", "it's", "a b", "x\0", "\ud800", "..", "[*]", "x\n", "é"]),
    st.integers(),
    st.sampled_from([1.5, True, None, ("a", "b"), Secret("s3cret"), BlobUrl("in", "f", "r")]),
    st.sampled_from([Text(("a", BlobUrl("in", "f", "r"))), Record(a="b"), 1 << 70]),
)
SOURCES = st.lists(
    st.sampled_from(
        [
            *("run ", "--x=", "%", "'", "é", "{{ value }}", "{{ index }}", "{{ task.id }}"),
            *("{{ seed }}", "{{ secret }}", "{{ value | upper }}", "{{ value.a }}", "../std"),
            "{{ containers.output.write_url }}",
        ]
    ),
    max_size=4,
).map("".join)
OUT = Record(containerUrl=Text((BlobUrl("output", None, "cw"),)))
KIND = Kind("priority", {"type": "integer"}, WHERE)


@st.composite
def bodies(draw: st.DrawFn) -> Record:
    """Bodies with templates in the places that other properties may depend on."""

    def text() -> Value:
        source = draw(SOURCES)
        return template(source) if "{{" in source else source

    headers = (Record(name=draw(st.sampled_from(["x", "x-ms-meta-a"])), value=text()),)
    out = OUT.with_(path=text(), uploadHeaders=headers)
    found: dict[str, Value] = {
        "environmentSettings": (
            Record(name="A", value=text()),
            Record(name="B", value=draw(st.sampled_from([Text((Secret("s"),)), "%d", text()]))),
        ),
        "outputFiles": (
            Record(filePattern=text(), destination=Record(container=out)),
            Record(filePattern="out/*.txt", destination=Record(container=out)),
        ),
        "resourceFiles": (Record(httpUrl=text(), filePath=text()),),
        "displayName": text(),
        "containerSettings": Record(
            imageName=text(), registry=Record(registryServer=text(), username="me")
        ),
        "constraints": Record(maxTaskRetryCount=3, x=1.5, y=None, z=True),
        "priority": Template("{{ value }}", WHERE, KIND),
    }
    names = draw(st.lists(st.sampled_from(sorted(found)), unique=True))
    return Record({name: found[name] for name in names})


@settings(max_examples=300, deadline=None)
@given(
    SOURCES,
    bodies(),
    st.lists(VALUES, min_size=1, max_size=3),
    st.none() | SOURCES,
    st.booleans(),
    st.booleans(),
)
@example("run {{ value }}", Record(displayName="50 %"), ["%s"], None, False, False)
def test_any_values(
    command: str,
    body: Record,
    values: list[Value],
    task_id: str | None,
    windows: bool,
    identity: bool,
) -> None:
    only = stage(command or "run", EachValue(tuple(values)), body=body, task_id=task_id)
    given = spec(only, parameters={"seed": 7, "secret": Secret("s3cret")})
    given = replace(given, storage_identity="/subscriptions/x" if identity else "")
    made_twice(partial(tasks.expand, given, only, observed(), windows=windows))


def test_most_tasks_are_made_with_a_template() -> None:
    body = Record(
        environmentSettings=(
            Record(name="A", value=template("{{ value }} of {{ seed }}")),
            Record(name="URL", value=template("{{ containers.output.write_url }}")),
            Record(name="S", value=template("{{ secret }}")),
        ),
        outputFiles=(Record(filePattern="*", destination=Record(container=OUT)),),
    )
    many = EachNumber(NumberRange(0, MOST))
    only = stage("run {{ value }} {{ task.id }}", many, body=body)
    given = spec(only, parameters={"seed": 7, "secret": Secret("s3cret")})
    assert made_twice(partial(tasks.expand, given, only, observed(), windows=False)) == MOST
