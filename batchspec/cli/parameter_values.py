"""Values of arguments and options, converted to the types that the function of a command names.

typer converts values with pydantic, whose import takes longer than ``batchspec --help``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from functools import partial
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from batchspec.cli.usage_errors import parameter_error, unknown_choice

_TRUE = frozenset({"1", "on", "t", "true", "y", "yes"})
_FALSE = frozenset({"", "0", "f", "false", "n", "no", "off"})


def annotations_of(function: Callable[..., Any]) -> dict[str, Any]:
    """The annotations of a function's parameters, with what ``typer.Option`` adds, by name."""
    return get_type_hints(function, include_extras=True)


def convert_values(params: list[Any], annotations: Mapping[str, Any]) -> list[Any]:
    """Convert the values of these parameters as the annotations say; the parameters.

    Without an annotation, a value remains what it is: a flag or a text.
    """
    for param in params:
        param.process_value = partial(_process, param, annotations.get(param.name, str))
    return params


def _process(param: Any, annotation: Any, context: Any, value: Any) -> Any:
    """The value of a parameter; the method ``process_value`` of click's parameters.

    Raises:
        UsageError: the value is wrong or missing.
    """
    convert = partial(_converted, param, annotation, context)
    if param.nargs == -1 or getattr(param, "multiple", False):
        value = tuple(map(convert, value or ()))
    else:
        value = convert(value)
    if param.required and value in {None, ()}:
        raise parameter_error(param, context, " is missing")
    return value if param.callback is None else param.callback(context, param, value)


def _converted(param: Any, annotation: Any, context: Any, value: Any) -> Any:
    kind = _scalar_type(annotation)
    if not isinstance(value, str) or isinstance(value, kind):
        return value  # A flag, a default, no value, or a text.
    if issubclass(kind, Enum):
        return _member(param, kind, context, value)
    if kind is bool:
        return _boolean(param, context, value)
    if kind is Path:
        return Path(value)
    return _number(param, annotation, context, value)


def _scalar_type(annotation: Any) -> type:
    """``Path`` for ``Annotated[list[Path] | None, ...]``."""
    while arguments := get_args(annotation):
        annotation = next(argument for argument in arguments if argument is not NoneType)
    kind: type = annotation
    return kind


def _member(param: Any, kind: type[Enum], context: Any, value: str) -> Enum:
    for member in kind:
        if member.value == value:
            return member
    raise unknown_choice(param, context, value, [str(member.value) for member in kind])


def _boolean(param: Any, context: Any, value: str) -> bool:
    """A flag that is set in the environment."""
    text = value.strip().lower()
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    raise parameter_error(param, context, f" must be `true` or `false`, not `{value}`")


def _number(param: Any, annotation: Any, context: Any, value: str) -> int | float:
    """A number, within the limits of a ``typer.Option`` that has ``min`` or ``max``."""
    kind = _scalar_type(annotation)
    try:
        number: int | float = kind(value)
    except ValueError:
        noun = "a whole number" if kind is int else "a number"
        raise parameter_error(param, context, f" must be {noun}, not `{value}`") from None
    option = get_args(annotation)[1] if get_origin(annotation) is Annotated else None
    least, most = getattr(option, "min", None), getattr(option, "max", None)
    if least is not None and number < least:
        raise parameter_error(param, context, f" must be at least {least}, not `{value}`")
    if most is not None and number > most:
        raise parameter_error(param, context, f" must be at most {most}, not `{value}`")
    return number
