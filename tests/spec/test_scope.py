"""Names in scope: a template is checked and evaluated with the same names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import pytest

from batchspec.diagnostics import Secret
from batchspec.plan.items import items
from batchspec.spec import (
    BlobUrl,
    EachBlob,
    EachFile,
    EachNumber,
    EachValue,
    ForEach,
    Matrix,
    NumberRange,
    Once,
    Record,
    Rows,
    file_item,
    read_rows,
    spec_scope,
)
from batchspec.spec.substitute import names_of, stage_names
from batchspec.spec.template import Names
from batchspec.spec.values import Named
from tests.plan.making import WHERE, blob, local_file, observed, spec, stage

PARAMETERS = {"top": 3, "shape": Record(x=1), "list": (1, 2), "pw": Secret("a")}


def paths(names: Names, before: str = "") -> set[str]:
    found: set[str] = set()
    for name, below in names.known.items():
        found |= {before + name} | paths(below, f"{before}{name}.")
    return found


def values(scope: Mapping[str, object], before: str = "") -> set[str]:
    found: set[str] = set()
    for name, value in scope.items():
        found.add(before + name)
        if isinstance(value, Mapping):
            found |= values(value, f"{before}{name}.")
    return found


def names_in_stage(for_each: ForEach) -> Names:
    return stage_names(names_of(spec_scope(spec(parameters=PARAMETERS))), for_each)


def test_names_of_the_scope_of_a_spec() -> None:
    names = names_of(spec_scope(spec(parameters=PARAMETERS)))
    assert {"containers.output.write_url", "job.id", "shape.x", "list", "pw"} <= paths(names)
    assert names.known["list"].open
    assert not names.known["pw"].known
    assert not names.open


def test_sas_permissions_of_containers() -> None:
    scope = spec_scope(spec(container="renamed"))
    containers = scope["containers"]
    assert isinstance(containers, dict)
    assert containers["input"] == {
        "name": "renamed",
        "url": BlobUrl("renamed"),
        "read_url": BlobUrl("renamed", None, "rl"),
        "write_url": BlobUrl("renamed", None, "cw"),
    }


@pytest.mark.parametrize(
    "for_each",
    [
        Once(),
        EachFile("input"),
        EachFile("input", group=2),
        EachBlob("there"),
        Matrix((("a", (1, 2)), ("b", NumberRange(0, 2))), include=(Record(a=1, b=2),)),
        EachNumber(NumberRange(0, 2)),
        EachValue(("a",)),
        EachValue((Record(x=1, y=Record(z=2)),)),
    ],
    ids=lambda it: type(it).__name__,
)
def test_stage_names_match_the_items(for_each: ForEach) -> None:
    it = stage(for_each=for_each)
    whole = spec(it, parameters=PARAMETERS)
    world = observed([local_file("a.txt")], blobs=[blob("b.txt")])
    promised = {path for path in paths(names_in_stage(for_each)) if not path.startswith("value.")}
    for item in items(whole, it, world):
        scope = {**spec_scope(whole), "index": 0, "task": {"id": ""}, **item.variables}
        assert {path for path in values(scope) if not path.startswith("value.")} == promised


def test_the_columns_of_a_file_of_rows_are_known(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("sample,the id\na,1\n")
    names = names_in_stage(Rows(path, WHERE))
    (row,) = read_rows(path)
    assert not names.open
    assert {"sample", "the id", "row.sample", "row.the id"} <= paths(names)
    assert set(row) == {"sample", "the id"}


@pytest.mark.parametrize("name", ["rows.jsonl", "gone.csv"])
def test_any_name_is_accepted_without_known_columns(tmp_path: Path, name: str) -> None:
    (tmp_path / "rows.jsonl").write_text('{"a": 1}\n')
    assert names_in_stage(Rows(tmp_path / name, WHERE)).open


def test_an_id_cannot_use_itself() -> None:
    base = names_of({})
    assert "task" not in stage_names(base, Once(), task=False).known
    assert "task" in stage_names(base, Once()).known


@pytest.mark.parametrize(
    "path", ["a.txt", "d/a.tar.gz", "a", ".hidden", "d.x/a", "a.", "..a.b", "...a", "ü b.c"]
)
def test_parts_of_a_file_name_match_pathlib(path: str) -> None:
    file = file_item("c", path, 1, keep_path=False)
    pure = PurePosixPath(path)
    assert (file["stem"], file["suffix"], file["name"]) == (pure.stem, pure.suffix, pure.name)
    assert file.text == pure.name
    assert isinstance(file, Named)
    assert file["url"] == BlobUrl("c", path, "r")
