"""Files of users: missing, forbidden, in another encoding, too large, not YAML."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from batchspec.diagnostics import Diagnostic, SpecError
from batchspec.spec import read_spec
from batchspec.spec.yaml_parser import LARGEST, parse, read_source, resolve, source


def problem(path: Path) -> Diagnostic:
    with pytest.raises(SpecError) as caught:
        read_spec(path)
    (found,) = caught.value.problems
    return found


def refused(tmp_path: Path, data: bytes) -> Diagnostic:
    path = tmp_path / "spec.yaml"
    path.write_bytes(data)
    return problem(path)


def test_missing(tmp_path: Path) -> None:
    assert problem(tmp_path / "none.yaml").code == "no-file"


def test_folder(tmp_path: Path) -> None:
    assert problem(tmp_path).code == "not-a-file"


def test_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("")
    assert problem(tmp_path / "a" / "b.yaml").code == "not-readable"


def test_name_with_nul() -> None:
    assert problem(Path("a\0b")).code == "no-file"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_no_permission(tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text("version: 1")
    path.chmod(0)
    assert problem(path).code == "no-permission"


def test_permission_denied_as_any_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def denied(*_: object, **__: object) -> object:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "spec.yaml").write_text("version: 1\n", "utf-8")
    monkeypatch.setattr(Path, "open", denied)
    found = problem(tmp_path / "spec.yaml")
    assert found.code == "no-permission"
    assert "chmod" in found.fix


def test_utf16(tmp_path: Path) -> None:
    found = refused(tmp_path, "version: 1".encode("utf-16"))
    assert (found.code, found.fix) == ("not-utf8", "Save the file as UTF-8.")


def test_latin1_is_reported_with_its_position(tmp_path: Path) -> None:
    found = refused(tmp_path, "version: 1\nname: caf\xe9\n".encode("latin-1"))
    assert found.where is not None
    assert (found.code, found.where.line, found.where.column) == ("not-utf8", 2, 10)


def test_a_byte_order_mark_is_accepted(tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    path.write_bytes(b"\xef\xbb\xbfversion: 1\n")
    assert read_source(path).text == "version: 1\n"


@pytest.mark.parametrize("character", ["\0", "\x07", "\x1b", "\x7f", "\ufffe"])
def test_control_characters(tmp_path: Path, character: str) -> None:
    found = refused(tmp_path, f"version: 1\nname: a{character}b\n".encode())
    assert found.where is not None
    assert (found.code, found.where.line) == ("control-character", 2)


def test_too_large(tmp_path: Path) -> None:
    found = refused(tmp_path, b"# " + b"x" * LARGEST)
    assert found.code == "too-large"
    assert "rows" in found.fix


@pytest.mark.parametrize("opening", ["[", "{a: ", "- "])
def test_deep_nesting_is_refused(tmp_path: Path, opening: str) -> None:
    assert refused(tmp_path, opening.encode() * 20_000).code == "too-deep"


def test_line_ends_of_windows_and_old_macs() -> None:
    text = source("a: 1\r\nb: 2\rc: 3\n", "f")
    assert [text.line(number) for number in (1, 2, 3, 4)] == ["a: 1", "b: 2", "c: 3", ""]
    members = parse(text).members
    assert [members[key].where.line for key in "abc"] == [1, 2, 3]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\x85", "\u2028", "\u2029"])
def test_lines_end_where_the_parser_ends_them(end: str) -> None:
    text = source(f"{end}a: 1{end}b: >{end}  x{end}  y{end}c: [1,{end} 2]{end}", "f")
    a, b, c = parse(text).members.values()
    assert [(node.name.line, node.name.text) for node in (a, b, c)] == [
        (2, "a: 1"),
        (3, "b: >"),
        (6, "c: [1,"),
    ]
    assert [(place.line, place.text) for place in b.lines] == [(4, "  x"), (5, "  y")]
    assert [(node.where.line, node.where.column) for node in c.items] == [(6, 5), (7, 2)]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\x85", "\u2028", "\u2029"])
@pytest.mark.parametrize(
    ("broken", "code", "line", "column"),
    [
        ("|a|b: c|", "no-colon", 2, 1),
        ("|a: 'b|c: d|", "unclosed", 2, 4),
        ("|a: 1||a: 2|", "duplicate-key", 4, 1),
        ("a: b|  c: d|", "bad-indent", 2, 3),
    ],
)
def test_errors_have_the_positions_of_the_parser(
    end: str, broken: str, code: str, line: int, column: int
) -> None:
    with pytest.raises(SpecError) as caught:
        parse(source(broken.replace("|", end), "f"))
    (found,) = caught.value.problems
    assert found.where is not None
    assert (found.code, found.where.line, found.where.column) == (code, line, column)


@pytest.mark.parametrize("character", ["\x0b", "\x0c"])
def test_form_feeds_do_not_end_lines(tmp_path: Path, character: str) -> None:
    found = refused(tmp_path, f"version: 1\nname: a{character}b\n".encode())
    assert found.where is not None
    assert (found.where.line, found.where.column, found.where.text) == (
        2,
        8,
        f"name: a{character}b",
    )


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(("true", True), ("False", False), ("null", None), ("~", None), ("", None)),
        *(("0", 0), ("-7", -7), ("+7", 7), ("1.5", 1.5), ("1e3", 1000.0), ("-0.5E-1", -0.05)),
        # In YAML 1.1 these have other values; in JSON and YAML 1.2 they are strings.
        *(
            (text, text)
            for text in ("yes", "no", "on", "Off", "y", "0755", "0x1F", "0o17", "1_000")
        ),
        *((text, text) for text in ("1:30", "2026-12-01", ".5", "1.", ".inf", "-.inf", ".nan")),
        *((text, text) for text in ("1e999", "9" * 100, "nan", "=", "<<")),
    ],
)
def test_plain_scalars(text: str, value: object) -> None:
    found = resolve(text)
    assert found == value
    assert type(found) is type(value)


def test_quoted_scalars_are_strings() -> None:
    assert parse(source("a: '1'\nb: \"true\"\nc: !!str 5\nd: |\n  7\n", "f")).plain() == {
        "a": "1",
        "b": "true",
        "c": "5",
        "d": "7\n",
    }


def test_keys_are_strings_as_written() -> None:
    assert parse(source("on: 1\n010: 2\n1.0: 3\n2026-01-01: 4\n", "f")).plain() == {
        "on": 1,
        "010": 2,
        "1.0": 3,
        "2026-01-01": 4,
    }


def test_merge_keys() -> None:
    text = "a: &a {x: 1, y: 1}\nb: &b {y: 2, z: 2}\nc: {<<: [*a, *b], z: 3}\nd: {'<<': 1}\n"
    plain = parse(source(text, "f")).plain()
    assert isinstance(plain, dict)
    assert plain["c"] == {"x": 1, "y": 1, "z": 3}
    assert plain["d"] == {"<<": 1}


def test_positions_of_values_and_their_text() -> None:
    members = parse(source("a: plain\nb: 'quoted'\nc: |\n    block\nd: [1, 22]\n", "f")).members
    assert [(m.where.line, m.where.column, m.where.length) for m in members.values()] == [
        (1, 4, 5),
        (2, 4, 8),
        (3, 4, 4),
        (5, 4, 1),
    ]
    inner = [members[key].inner for key in "abc"]
    assert [(place.line, place.column) for place in inner if place] == [(1, 4), (2, 5), (4, 5)]
    assert [item.where.column for item in members["d"].items] == [5, 8]


def test_a_line_with_a_key_is_redacted() -> None:
    text = source("a: AccountKey=c2VjcmV0;\nb: &x 1\nb: 2\n", "f")
    assert text.line(1) == "a: AccountKey=***;"
