"""Values are frozen and complete, and never show secrets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchspec.diagnostics import Place, Secret
from batchspec.spec import BlobUrl, Quoted, Quoting, Record, Template, Text, Value, freeze, thaw

URL = BlobUrl("out", "a b", "r")
texts = st.text(max_size=3)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=10,
)


def shown(text: Text) -> str:
    return text.shown


@given(json_values)
def test_json_is_frozen_and_thawed_unchanged(value: object) -> None:
    frozen = freeze(value)
    assert thaw(frozen, shown) == value
    hash(frozen)


def test_values_that_are_not_json_are_refused() -> None:
    with pytest.raises(TypeError, match="set"):
        freeze({"a": {1}})


def test_a_template_that_was_not_evaluated_cannot_be_sent() -> None:
    with pytest.raises(TypeError, match="was not evaluated"):
        thaw(Record(a=Template("{{ x }}", Place("f", 1, 1))), shown)


@given(st.dictionaries(st.text(max_size=3), st.integers(), max_size=5))
def test_a_record_is_a_frozen_dict(members: dict[str, Value]) -> None:
    record = Record(members)
    assert record == members
    assert (list(record), len(record)) == (list(members), len(members))
    assert list(record.items()) == list(members.items())
    assert list(record.keys()) == list(members) and list(record.values()) == list(members.values())
    assert all(key in record for key in members)
    assert hash(record) == hash(Record(dict(reversed(members.items()))))
    assert not hasattr(record, "__setitem__")


def test_with_copies_a_record() -> None:
    record = Record(a=1, b=2)
    assert record.with_(b=None, c=3) == {"a": 1, "c": 3}
    assert record == {"a": 1, "b": 2}


def test_shown_text_has_no_signed_url_and_no_secret() -> None:
    text = Text(("get ", URL, " ", BlobUrl("out"), " ", Secret("hunter2"), "!"))
    assert text.shown == "get <sas> <url> ***!"
    assert "hunter2" not in f"{text!r} {text} {text.identity()} {Record(a=text)!r}"
    assert text.resolve(lambda url: f"<{url.container}>") == "get <out> <out> hunter2!"


def test_deferred_values_are_quoted_once_resolved() -> None:
    inner = Text(("a ", Quoted(Text((Secret("it's"),)), Quoting.POSIX)))
    text = Text(("/bin/sh -c ", Quoted(inner, Quoting.POSIX)))
    assert text.shown == "/bin/sh -c 'a ***'"
    assert text.resolve(str) == """/bin/sh -c 'a '"'"'it'"'"'"'"'"'"'"'"'s'"'"''"""


def test_identity_distinguishes_urls_but_not_secrets() -> None:
    def said(*pieces: object) -> str:
        return Text(pieces).identity()  # type: ignore[arg-type]

    assert said(Secret("a")) == said(Secret("b"))
    urls = [
        URL,
        BlobUrl("out"),
        BlobUrl("out", "a b"),
        BlobUrl("out", "b", "r"),
        BlobUrl("x", "a b", "r"),
    ]
    assert len({said(url) for url in urls}) == len(urls)
    assert said(Quoted(Text((URL,)), Quoting.POSIX)) != said(URL)


def test_every_url_of_a_text_is_found() -> None:
    text = Text((URL, Quoted(Text(("x", BlobUrl("y"))), Quoting.POSIX)))
    assert list(text.urls()) == [URL, BlobUrl("y")]


def test_a_single_url_or_secret_is_a_text() -> None:
    body = Record(url=URL, list=(Secret("hunter2"), 1))
    assert thaw(body, shown) == {"url": "<sas>", "list": ["***", 1]}
