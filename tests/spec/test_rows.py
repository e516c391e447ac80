"""Files of rows: their values, and errors with their line."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchspec.diagnostics import Diagnostic, Place, SpecError
from batchspec.plan.identity import rows_digest
from batchspec.spec import Record, canonical_json, read_rows
from batchspec.spec.rows import columns
from tests.subprocess_memory import printed_number


def written(folder: Path, name: str, data: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def read(folder: Path, data: str | bytes, name: str = "rows.csv") -> list[dict[str, object]]:
    rows = read_rows(written(folder, name, data))
    found = [dict(row) for row in rows]
    assert len(rows) == len(found)
    assert [dict(row) for row in rows] == found
    return found


def fault(folder: Path, data: str | bytes, name: str = "rows.csv") -> Diagnostic:
    path = written(folder, name, data)
    with pytest.raises(SpecError) as caught:
        list(read_rows(path))
    (problem,) = caught.value.problems
    assert problem.where is not None
    assert problem.where.file == str(path)
    return problem


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("a,b\n1,x y\n007,\n", [{"a": "1", "b": "x y"}, {"a": "007", "b": ""}]),
        ('a,b\r\n"x, ""y""","two\nlines"\r\n', [{"a": 'x, "y"', "b": "two\nlines"}]),
        ("\ufeffa,b\n1,2", [{"a": "1", "b": "2"}]),
        ("\n\na , b\n\n1,2\n\n", [{"a": "1", "b": "2"}]),
        ("a\nü→\n", [{"a": "ü→"}]),
        ("a,b\n", []),
        ("a,b\n1,2\n".encode("utf-16"), [{"a": "1", "b": "2"}]),
    ],
    ids=["plain", "quoted", "mark", "empty lines", "unicode", "no row", "utf-16"],
)
def test_csv(tmp_path: Path, data: str | bytes, expected: list[dict[str, object]]) -> None:
    assert read(tmp_path, data) == expected


def test_tsv(tmp_path: Path) -> None:
    assert read(tmp_path, 'a\tb\n1,2\t"x\ty"\n', "rows.TSV") == [{"a": "1,2", "b": "x\ty"}]


def test_json_lines_keep_their_types(tmp_path: Path) -> None:
    data = '\ufeff{"a": 1, "b": [true, null, {"c": "d"}]}\n\n  {"a": 0.5}\r\n{}'
    first, second, third = read(tmp_path, data, "rows.jsonl")
    assert first == {"a": 1, "b": (True, None, Record(c="d"))}
    assert (second, third) == ({"a": 0.5}, {})


@given(
    st.lists(
        st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
                 min_size=2, max_size=2),
        max_size=8,
    )
)  # fmt: skip
def test_csv_round_trip(tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]]) -> None:
    path = tmp_path_factory.mktemp("rows") / "rows.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["first", "second"], *rows])
    assert [list(row.values()) for row in read_rows(path)] == rows


@pytest.mark.parametrize(
    ("data", "line", "words"),
    [
        ("a,b\n1,2\n3\n", 3, "has 1 value for 2 columns"),
        ("a,b\n1,2,3\n", 2, "has 3 values"),
        ('a,b\n"x\ny",2\n3\n', 4, "has 1 value"),
        ("a,,b\n", 1, "column 2 has no name"),
        ("a,b,a\n", 1, "two columns are named 'a'"),
        ("", 1, "empty"),
        ("\n\n", 1, "empty"),
        ("a;b\n1;2\n", 1, "separated by ';'"),
        ('a,b\n1,2\n"x,3\n4,5\n', 3, "the row that starts here"),
        ('a,b\n"x"y,2\n', 2, "is not valid"),
        (b"a,b\n1,2\nx\xff,3\n", 3, "byte 0xff is not UTF-8"),
        ("a\n" + '"' + "x" * 200_000 + '"\n', 2, "field larger"),
        ("a,b\n1,2\n".encode("utf-16") + b"\x00\xd8", 2, "UTF-16"),
    ],
)
def test_errors_in_csv_have_their_line(
    tmp_path: Path, data: str | bytes, line: int, words: str
) -> None:
    problem = fault(tmp_path, data)
    assert words in problem.summary
    assert problem.where is not None
    assert problem.where.line == line


@pytest.mark.parametrize(
    ("data", "place", "words"),
    [
        ('{"a": 1}\n{"a": }\n', (2, 7), "not valid JSON"),
        ('{"a": 1}\n[1]\n', (2, 1), "not a JSON object"),
        ("1\n", (1, 1), "not a JSON object"),
        ('{"a": 1, "a": 2}\n', (1, 1), "two members are named 'a'"),
        ('{"a": NaN}\n', (1, 1), "NaN"),
        ('{"a": -1e400}\n', (1, 1), "too large"),
        ('{"a": ' + "[" * 100_000 + "\n", (1, 1), "more than 60 levels"),
        ('{"a": ' + "[" * 60 + "]" * 60 + "}\n", (1, 1), "more than 60 levels"),
    ],
)
def test_errors_in_json_lines_have_their_position(
    tmp_path: Path, data: str, place: tuple[int, int], words: str
) -> None:
    problem = fault(tmp_path, data, "rows.jsonl")
    assert words in problem.summary
    assert problem.where is not None
    assert (problem.where.line, problem.where.column) == place


def test_a_message_shows_the_line_without_a_signature(tmp_path: Path) -> None:
    problem = fault(tmp_path, "a,b\nhttps://x/c?sig=abcdef\n")
    assert problem.where is not None
    assert problem.where.text == "https://x/c?sig=***"


@pytest.mark.parametrize(
    ("name", "code"), [("rows.xlsx", "rows-format"), ("gone.csv", "missing-file")]
)
def test_an_unusable_file_is_reported_at_its_position_in_the_spec(
    tmp_path: Path, name: str, code: str
) -> None:
    where = Place("spec.yaml", 9, 3)
    with pytest.raises(SpecError) as caught:
        read_rows(tmp_path / name, where)
    assert [(p.code, p.where) for p in caught.value.problems] == [(code, where)]


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is unreadable for root")
def test_a_file_without_permission_is_reported(tmp_path: Path) -> None:
    path = written(tmp_path, "rows.csv", "a\n")
    path.chmod(0)
    with pytest.raises(SpecError, match="Permission denied"):
        read_rows(path)


def test_a_folder_is_not_a_file_of_rows(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").mkdir()
    with pytest.raises(SpecError, match="directory"):
        read_rows(tmp_path / "rows.csv")


def test_a_file_that_changes_between_two_passes_is_reported(tmp_path: Path) -> None:
    path = written(tmp_path, "rows.csv", "a\n1\n")
    rows = read_rows(path)
    assert len(list(rows)) == 1
    path.write_text("a\n1\n2\n")
    with pytest.raises(SpecError, match="changed"):
        list(rows)


def test_columns(tmp_path: Path) -> None:
    assert columns(written(tmp_path, "a.csv", "x, y\n1,2\n")) == ("x", "y")
    assert columns(written(tmp_path, "a.jsonl", '{"x": 1}\n')) is None
    assert columns(written(tmp_path, "b.csv", "x,x\n")) is None
    assert columns(tmp_path / "gone.csv") is None


def peak(path: str) -> int:
    tracemalloc.start()
    rows = read_rows(Path(path))
    assert sum(1 for _ in rows) == len(rows) == 20_000
    return tracemalloc.get_traced_memory()[1]


def test_rows_are_not_kept_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    with path.open("w") as file:
        file.writelines(json.dumps({"name": "x" * 100, "n": n}) + "\n" for n in range(20_000))
    program = f"from {__name__} import peak; print(peak({str(path)!r}))"
    assert printed_number(program) < 500_000


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("rows.csv", 'b,100%,"a"""\n1,2,3\nü→,"\n",\x7f\n'),
        ("rows.csv", "a\n"),
        ("rows.tsv", "z\ta\n1\t\\\n"),
        ("rows.jsonl", '{"b": 1.5, "a": [true, null, {"z": 1, "y": "é"}]}\n\n{}\n'),
    ],
)
def test_the_digest_of_a_file_is_that_of_its_rows(tmp_path: Path, name: str, data: str) -> None:
    path = written(tmp_path, name, data)
    hasher = hashlib.sha256()
    for row in read_rows(path):
        text = json.dumps(json.loads(canonical_json(row)), sort_keys=True, separators=(",", ":"))
        hasher.update(hashlib.sha256(f"{text}\n".encode()).hexdigest()[:16].encode())
    asked, counted, halfway, whole = (read_rows(path) for _ in range(4))
    len(counted)
    next(iter(halfway), None)
    list(whole)
    assert {rows.digest for rows in (asked, counted, halfway, whole)} == {hasher.hexdigest()}
    assert rows_digest(asked) == rows_digest(tuple(asked)) == hasher.hexdigest()
