"""A decorator like ``dataclass(frozen=True, slots=True)`` that takes a tenth of its time.

``dataclass`` compiles six methods for such a class. A command imports some 300 classes, which took
a quarter of its start. ``frozen`` compiles only ``__init__``, at its first use; classes share the
code of the other methods.

``dataclasses.replace``, ``fields`` and ``asdict`` work as with any dataclass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import MISSING, Field, FrozenInstanceError, dataclass, field, fields
from operator import attrgetter
from typing import Any, TypeVar, dataclass_transform

_T = TypeVar("_T")


@dataclass_transform(frozen_default=True, field_specifiers=(field, Field))
def frozen(cls: type[_T]) -> type[_T]:
    """Make a class a frozen dataclass with slots.

    Methods of the class are kept. Its base classes have no fields, or are decorated with
    ``frozen``.
    """
    own = vars(cls).keys()
    made = dataclass(init=False, repr=False, eq=False, slots=True)(cls)
    found = fields(made)  # type: ignore[arg-type]
    _check_order(found)
    methods = {
        "__init__": _Init(made, found),
        "__repr__": _repr(tuple(each.name for each in found if each.repr)),
        "__getstate__": _get_state,
        "__setstate__": _set_state,
        **_comparison(found),
        **_REFUSED,
    }
    for name, method in methods.items():
        if name not in own:
            setattr(made, name, method)
    return made


def _check_order(found: Sequence[Field[Any]]) -> None:
    """Raise the error that compiling ``__init__`` would raise."""
    optional = False
    for each in found:
        if each.init:
            has_default = each.default is not MISSING or each.default_factory is not MISSING
            if optional and not has_default:
                raise TypeError(f"non-default argument {each.name!r} follows default argument")
            optional = has_default


class _Init:
    """``__init__`` of a class, compiled at its first use: most classes have no instances."""

    def __init__(self, cls: type[object], found: Sequence[Field[Any]]) -> None:
        self._cls = cls
        self._found = found

    def __get__(self, instance: object, owner: type[object]) -> Any:
        # `__init__` of the class that `frozen` made, even if a subclass reads it.
        if vars(self._cls)["__init__"] is self:
            setattr(self._cls, "__init__", _init(self._cls, self._found))  # noqa: B010
        method: Any = vars(self._cls)["__init__"]
        return method.__get__(instance, owner)


def _init(cls: type[object], found: Sequence[Field[Any]]) -> Callable[..., None]:
    """Compile ``__init__``: it sets the fields, and calls ``__post_init__`` if there is one."""
    values: dict[str, object] = {}
    parameters, lines = ["self"], []
    for each in found:
        name, default, given = each.name, f"_of_{each.name}", each.name
        if each.default is not MISSING:
            values[default] = each.default
            parameter = f"{name}={default}"
        elif each.default_factory is not MISSING:
            values[default] = each.default_factory
            values["_absent"] = MISSING
            parameter = f"{name}=_absent"
            given = f"{default}() if {name} is _absent else {name}"
        else:
            parameter = name
        if each.init:
            parameters.append(parameter)
        elif parameter is name:
            continue
        else:
            given = default if each.default is not MISSING else f"{default}()"
        # The descriptor of the slot takes two thirds of the time of `object.__setattr__`.
        values[f"_set_{name}"] = getattr(cls, name).__set__
        lines.append(f"_set_{name}(self, {given})")
    if hasattr(cls, "__post_init__"):
        lines.append("self.__post_init__()")
    body = "; ".join(lines) or "pass"
    exec(f"def __init__({', '.join(parameters)}): {body}", values)  # noqa: S102 - names of fields
    method: Any = values["__init__"]
    method.__qualname__ = f"{cls.__qualname__}.__init__"
    return method  # type: ignore[no-any-return]


def _repr(names: Sequence[str]) -> Callable[[object], str]:
    def __repr__(self: object) -> str:  # noqa: N807
        shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in names)
        return f"{type(self).__qualname__}({shown})"

    return __repr__


def _comparison(found: Sequence[Field[Any]]) -> dict[str, Callable[..., object]]:
    """``__eq__`` and ``__hash__``, which compare the type and the values of compared fields."""
    compared = _values([each.name for each in found if each.compare])
    hashed = _values(
        [each.name for each in found if (each.compare if each.hash is None else each.hash)]
    )

    def __eq__(self: object, other: object) -> bool:  # noqa: N807
        if type(other) is not type(self):
            return NotImplemented
        return bool(compared(self) == compared(other))

    def __hash__(self: object) -> int:  # noqa: N807
        return hash(hashed(self))

    return {"__eq__": __eq__, "__hash__": __hash__}


def _values(names: Sequence[str]) -> Callable[[object], object]:
    return attrgetter(*names) if names else (lambda _: ())


def _refuse(self: object, name: str, *_: object) -> None:
    raise FrozenInstanceError(f"cannot assign to or delete field {name!r} of {type(self).__name__}")


_REFUSED = {"__setattr__": _refuse, "__delattr__": _refuse}


def _get_state(self: Any) -> list[object]:
    return [getattr(self, each.name) for each in fields(self)]


def _set_state(self: Any, state: Sequence[object]) -> None:
    for each, value in zip(fields(self), state, strict=True):
        object.__setattr__(self, each.name, value)
