"""``$filter`` and ``$select``: the grammar, and the agreement of evaluator and SQLite."""

from __future__ import annotations

import json
import sqlite3
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchspec.local.wire import (
    Column,
    FieldType,
    QueryError,
    bind_fields,
    matches_filter,
    parse_filter,
    to_sql,
)
from batchspec.local.wire.odata import (
    MAX_DEPTH,
    And,
    Comparison,
    Filter,
    Not,
    Or,
    StartsWith,
    parse_select,
)

NOON = datetime(2024, 4, 18, 12, 0, tzinfo=UTC)

COLUMNS = {
    "id": Column("id", FieldType.TEXT),
    "state": Column("state", FieldType.WORD),
    "creationTime": Column("created", FieldType.TIME),
    "enableAutoScale": Column("scaled", FieldType.BOOL),
    "executionInfo/exitCode": Column("code", FieldType.NUMBER),
    "executionInfo/result": Column("json_extract(doc, '$.executionInfo.result')", FieldType.WORD),
}
KINDS = {name: column.kind for name, column in COLUMNS.items()}


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("id eq 'a'", Comparison("id", "eq", "a")),
        (" state  ne 'it''s' ", Comparison("state", "ne", "it's")),
        ("executionInfo/exitCode ge -1", Comparison("executionInfo/exitCode", "ge", -1)),
        ("a lt 1.5e2", Comparison("a", "lt", 150.0)),
        ("a eq true", Comparison("a", "eq", True)),
        ("a ne null", Comparison("a", "ne", None)),
        ("creationTime gt 2024-04-18T12:00:00Z", Comparison("creationTime", "gt", NOON)),
        ("creationTime gt 2024-04-18T12:00:00.0000000Z", Comparison("creationTime", "gt", NOON)),
        ("creationTime le DateTime'2024-04-18T12:00:00Z'", Comparison("creationTime", "le", NOON)),
        ("a le datetime'2024-04-18T14:00:00+02:00'", Comparison("a", "le", NOON)),
        ("a le 2024-04-18T12:00", Comparison("a", "le", NOON)),
        ("startswith(id,'p-')", StartsWith("id", "p-")),
        ("startswith( id , 'and' ) eq false", Not(StartsWith("id", "and"))),
        (
            "a eq 1 or b eq 2 and not c eq 3",
            Or(
                (
                    Comparison("a", "eq", 1),
                    And((Comparison("b", "eq", 2), Not(Comparison("c", "eq", 3)))),
                )
            ),
        ),
        (
            "(a eq 1 or b eq 2) and c eq 'or'",
            And(
                (
                    Or((Comparison("a", "eq", 1), Comparison("b", "eq", 2))),
                    Comparison("c", "eq", "or"),
                )
            ),
        ),
        (
            "state eq 'completed' and executionInfo/exitCode eq 1",
            And(
                (
                    Comparison("state", "eq", "completed"),
                    Comparison("executionInfo/exitCode", "eq", 1),
                )
            ),
        ),
    ],
)
def test_parsing(text: str, tree: Filter) -> None:
    assert parse_filter(text) == tree


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "id",
        "id eq",
        "id eq 'a",
        "id eq 'a' and",
        "'a' eq id",
        "id = 'a'",
        "id eq 'a' id eq 'b'",
        "(id eq 'a'",
        "id eq 'a')",
        "not",
        "and",
        "contains(id,'a')",
        "startswith(id)",
        "startswith('id','a')",
        "startswith(id,1)",
        "id eq 12a",
        "id eq 1e999",
        "id eq 99999999999999999999",
        "t gt 2024-13-01T00:00:00Z",
        "t gt DateTime'x'",
        "t gt 0001-01-01T00:00:00+01:00",
        "id eq 'a\0b'",
        "id eq ;",
        "(" * (MAX_DEPTH + 5) + "id eq 'a'" + ")" * (MAX_DEPTH + 5),
        "not " * 5000 + "id eq 'a'",
    ],
)
def test_invalid_filters_are_rejected(text: str) -> None:
    with pytest.raises(QueryError):
        parse_filter(text)


@settings(deadline=None)
@given(st.text(max_size=60))
def test_any_text_is_parsed_or_rejected(text: str) -> None:
    try:
        parse_filter(text)
    except QueryError:
        return


@pytest.mark.parametrize(
    "text",
    [
        "unknown eq 1",
        "id eq 1",
        "id eq true",
        "executionInfo/exitCode eq '1'",
        "executionInfo/exitCode eq true",
        "enableAutoScale eq 1",
        "enableAutoScale gt true",
        "creationTime eq 'noon'",
        "creationTime gt null",
        "state eq 2024-04-18T12:00:00Z",
        "startswith(creationTime,'2')",
    ],
)
def test_literals_of_the_wrong_type_are_rejected(text: str) -> None:
    with pytest.raises(QueryError):
        bind_fields(parse_filter(text), KINDS)
    with pytest.raises(QueryError):
        to_sql(parse_filter(text), COLUMNS, datetime.isoformat)


def test_a_quoted_time_is_a_time() -> None:
    tree = bind_fields(parse_filter("creationTime gt '2024-04-18T12:00:00Z'"), KINDS)
    assert matches_filter(tree, {"creationTime": "2024-04-18T12:00:00.0000010Z"})
    assert not matches_filter(tree, {"creationTime": "2024-04-18T12:00:00Z"})


def test_a_missing_field_equals_nothing_and_differs_from_everything() -> None:
    def passes(text: str) -> bool:
        return matches_filter(bind_fields(parse_filter(text), KINDS), {"id": "t"})

    assert not passes("executionInfo/exitCode eq 0")
    assert passes("executionInfo/exitCode ne 0")
    assert not passes("executionInfo/exitCode lt 0")
    assert passes("not (executionInfo/exitCode lt 0)")
    assert passes("executionInfo/exitCode eq null")


def test_strings_ignore_the_case_of_ascii_letters_only() -> None:
    def passes(text: str, name: str) -> bool:
        return matches_filter(
            bind_fields(parse_filter(text), KINDS), {"id": name, "state": "active"}
        )

    assert passes("id eq 'POOL' and state eq 'Active'", "pool")
    assert passes("startswith(id,'PO')", "pool")
    assert not passes("id eq '\u00c4'", "\u00e4")


# --- SQLite and the evaluator agree -------------------------------------------------------------

words = st.text(st.sampled_from("aAbB_'%\u00e4\u00c4\U0001f600"), max_size=3)
times = st.integers(-3, 3).map(lambda n: NOON + timedelta(microseconds=n))
numbers = st.integers(-2, 2) | st.sampled_from([0.5, -1.0, 2**62])
# The order of characters has edge cases next to these.
odd = st.text(st.sampled_from("a\ud7ff\ue000\U0010ffff"), max_size=3)
states = st.sampled_from(["active", "running", "completed"])
LITERALS: dict[FieldType, st.SearchStrategy[Any]] = {
    FieldType.TEXT: words,
    FieldType.WORD: states | states.map(str.title),
    FieldType.NUMBER: numbers,
    FieldType.BOOL: st.booleans(),
    FieldType.TIME: times | times.map(datetime.isoformat),
}


@st.composite
def comparisons(draw: st.DrawFn) -> Filter:
    name = draw(st.sampled_from(sorted(COLUMNS)))
    kind = KINDS[name]
    if kind in {FieldType.TEXT, FieldType.WORD} and draw(st.booleans()):
        return StartsWith(name, draw(words | odd | st.sampled_from(["R", "runn", "com"])))
    operators = ["eq", "ne"] if kind is FieldType.BOOL else ["eq", "ne", "lt", "le", "gt", "ge"]
    operator = draw(st.sampled_from(operators))
    literal = LITERALS[kind]
    if operator in {"eq", "ne"}:
        literal |= st.none()
    return Comparison(name, operator, draw(literal))


filters = st.recursive(
    comparisons(),
    lambda inner: (
        inner.map(Not)
        | st.lists(inner, min_size=2, max_size=3).map(lambda terms: And(tuple(terms)))
        | st.lists(inner, min_size=2, max_size=3).map(lambda terms: Or(tuple(terms)))
    ),
    max_leaves=8,
)
records = st.fixed_dictionaries(
    {"id": words, "state": states | odd},
    optional={
        "creationTime": times.map(lambda t: t.isoformat().replace("+00:00", "Z")),
        "enableAutoScale": st.booleans(),
        "executionInfo": st.fixed_dictionaries(
            {}, optional={"exitCode": numbers, "result": st.sampled_from(["success", "failure"])}
        ),
    },
)


@settings(deadline=None)
@given(tree=filters, many=st.lists(records, min_size=1, max_size=8))
def test_sql_selects_what_the_evaluator_accepts(tree: Filter, many: list[dict[str, Any]]) -> None:
    base = sqlite3.connect(":memory:")
    base.execute("CREATE TABLE t (n, id TEXT, state TEXT, created REAL, scaled, code, doc TEXT)")
    for n, record in enumerate(many):
        created = record.get("creationTime")
        base.execute(
            "INSERT INTO t VALUES (?,?,?,?,?,?,?)",
            (
                n,
                record["id"],
                record["state"],
                created and datetime.fromisoformat(created).timestamp(),
                record.get("enableAutoScale"),
                record.get("executionInfo", {}).get("exitCode"),
                json.dumps(record),
            ),
        )
    condition = to_sql(tree, COLUMNS, datetime.timestamp)
    rows = base.execute(
        f"SELECT n FROM t WHERE {condition.sql} ORDER BY n", condition.parameters
    ).fetchall()
    base.close()
    fitted = bind_fields(tree, KINDS)
    assert [n for (n,) in rows] == [n for n, one in enumerate(many) if matches_filter(fitted, one)]


def test_a_filter_can_have_thousands_of_terms() -> None:
    text = " or ".join(f"id eq 'a{number}'" for number in range(5000))
    condition = to_sql(parse_filter(text), COLUMNS, datetime.timestamp)
    base = sqlite3.connect(":memory:")
    base.execute("CREATE TABLE t (id TEXT)")
    base.executemany("INSERT INTO t VALUES (?)", [("a4999",), ("b",)])
    rows = base.execute(f"SELECT id FROM t WHERE {condition.sql}", condition.parameters).fetchall()
    base.close()
    assert rows == [("a4999",)]


def test_filter_text_never_becomes_sql() -> None:
    condition = to_sql(parse_filter("id eq '''; DROP TABLE t; --'"), COLUMNS, datetime.isoformat)
    assert "DROP" not in condition.sql
    assert condition.parameters == ("'; DROP TABLE t; --",)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("id,state", {"id", "state"}),
        ("allocationState, targetDedicatedNodes", {"allocationState", "targetDedicatedNodes"}),
        ("executionInfo/exitCode", {"executionInfo"}),
    ],
)
def test_select_returns_top_level_names(text: str, names: set[str]) -> None:
    assert parse_select(text) == names


@pytest.mark.parametrize("text", ["", "id,", "id state", "$x", "id,,state"])
def test_invalid_selects_are_rejected(text: str) -> None:
    with pytest.raises(QueryError):
        parse_select(text)
