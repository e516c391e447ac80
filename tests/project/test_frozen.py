"""``frozen`` makes what ``dataclass(frozen=True, slots=True)`` makes."""

from __future__ import annotations

import copy
import inspect
import pickle
from collections.abc import Callable
from dataclasses import FrozenInstanceError, asdict, astuple, dataclass, field, fields, replace
from typing import Any

import pytest

from batchspec.frozen import frozen

BOTH = pytest.mark.parametrize(
    "decorate", [frozen, dataclass(frozen=True, slots=True)], ids=["frozen", "dataclass"]
)


def _classes(decorate: Callable[[type[Any]], type[Any]]) -> tuple[Any, Any, Any]:
    @decorate
    class Base:
        """A value."""

        name: str
        sizes: list[int] = field(default_factory=list)
        secret: str = field(default="", repr=False)
        note: str = field(default="", compare=False)

    @decorate
    class Derived(Base):
        """A value with more fields."""

        extra: int = 3
        total: int = field(init=False)

        def __post_init__(self) -> None:
            object.__setattr__(self, "total", self.extra * 2)

    @decorate
    class Empty:
        """No fields."""

        def __repr__(self) -> str:
            return "nothing"

    return Base, Derived, Empty


@BOTH
def test_values(decorate: Callable[[type[Any]], type[Any]]) -> None:
    base, derived, empty = _classes(decorate)
    value = base("a", [1], secret="key", note="x")
    assert repr(value).endswith("Base(name='a', sizes=[1], note='x')")
    assert value == base("a", [1], "key", note="other")
    assert value != base("a", [2], "key")
    assert value != derived("a", [1], "key")
    assert hash(base("a", ())) == hash(base("a", (), note="x"))
    assert base("a").sizes == []
    assert base("a").sizes is not base("a").sizes
    assert derived("a", extra=5).total == 10
    assert replace(derived("a"), extra=1) == derived("a", extra=1)
    assert [each.name for each in fields(derived)] == [
        *("name", "sizes", "secret", "note", "extra", "total")
    ]
    assert asdict(value) == {"name": "a", "sizes": [1], "secret": "key", "note": "x"}
    assert astuple(empty()) == ()
    assert repr(empty()) == "nothing"
    assert empty() == empty()
    assert copy.deepcopy(derived("a", [1])) == derived("a", [1])
    match value:
        case base("a", [1]):
            pass
        case _:
            pytest.fail("no positional patterns")


@BOTH
def test_a_derived_class_is_used_before_its_base(
    decorate: Callable[[type[Any]], type[Any]],
) -> None:
    base, derived, _ = _classes(decorate)

    class Plain(base):  # type: ignore[misc]
        pass

    assert list(inspect.signature(Plain).parameters) == ["name", "sizes", "secret", "note"]
    assert Plain("a").name == "a"
    assert derived("a", [1], extra=2).total == 4
    assert base("a", [1]).sizes == [1]
    assert base.__init__.__qualname__.endswith("__init__")


@BOTH
def test_refusals(decorate: Callable[[type[Any]], type[Any]]) -> None:
    base, _, _ = _classes(decorate)
    value = base("a")
    with pytest.raises(FrozenInstanceError, match="'name'"):
        value.name = "b"
    with pytest.raises(FrozenInstanceError, match="'name'"):
        del value.name
    with pytest.raises((AttributeError, TypeError)):
        value.other = 1
    assert not hasattr(value, "__dict__")
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'name'"):
        base()
    with pytest.raises(TypeError, match="unexpected keyword argument 'unknown'"):
        base("a", unknown=1)


@frozen
class Point:
    """A value that can be found by its name."""

    x: int
    y: int = 0


def test_a_value_can_be_pickled() -> None:
    assert pickle.loads(pickle.dumps(Point(1, 2))) == Point(1, 2)


@BOTH
def test_fields_without_a_default_come_first(decorate: Callable[[type[Any]], type[Any]]) -> None:
    class Wrong:
        """A value."""

        first: int = 1
        second: int  # type: ignore[misc]

    with pytest.raises((TypeError, SyntaxError), match="non-default argument"):
        decorate(Wrong)
