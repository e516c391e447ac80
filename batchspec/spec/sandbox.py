"""The Jinja2 environment for template expressions, restricted to what a spec needs.

Expressions can use members of mappings, some string methods, and the filters and tests below. They
cannot reach attributes of Python objects, load templates, or yield results of unbounded size.
Failures are :class:`~batchspec.spec.values.RefusalError`; ``template`` adds the position.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import wraps
from pathlib import PurePosixPath

from jinja2 import StrictUndefined, TemplateError, nodes, pass_context
from jinja2.filters import FILTERS as JINJA_FILTERS
from jinja2.nativetypes import NativeCodeGenerator
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.tests import TESTS as JINJA_TESTS
from jinja2.utils import missing

from batchspec.spec.convert import slug
from batchspec.spec.values import (
    LIMIT,
    TOO_LARGE,
    Argument,
    Opaque,
    Raw,
    RefusalError,
    guard,
    plain,
)

_TOO_LONG = f"the result has more than {LIMIT:,} characters"

LONGEST = 10_000
"""The most characters of an expression."""
TOO_DEEP = "the expression is nested too deeply"

_FAILURES = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
)
"""The exceptions of Python and Jinja for unsuitable values; Jinja's ``truncate`` asserts its
arguments. Any other exception is an error of batchspec."""


def _spans(source: str) -> Iterator[tuple[int, int]]:
    """The starts of expressions, each with the next one or the end of the text."""
    starts = [match.start() for match in re.finditer(r"\{\{", source)]
    return zip(starts, [*starts[1:], len(source)], strict=True)


_METHODS = """
startswith endswith upper lower title capitalize strip lstrip rstrip removeprefix removesuffix
split rsplit splitlines partition rpartition find count isdigit isalpha isalnum isupper islower
"""

_OBJECTS = (dict, Mapping)

METHODS = frozenset(_METHODS.split())
"""The string methods that an expression can call."""


CONCAT = "~"
"""The internal filter for ``~``, which converts values to text like the rest of the expression."""

_KEPT_FILTERS = """
abs capitalize count d default dictsort filesizeformat first items last length list
lower map max min reject rejectattr reverse select selectattr sort string sum title trim
truncate unique upper urlencode wordcount
"""

_KEPT_TESTS = """
boolean defined divisibleby eq even false float ge gt in integer le lower lt mapping ne none number
odd sequence string true undefined upper
"""


def _guarded(function: Callable[..., object]) -> Callable[..., object]:
    """A filter that refuses opaque values; several of Jinja's filters swallow the error."""

    @wraps(function)
    def guarded(*args: object, **named: object) -> object:
        for value in (*args, *named.values()):
            if isinstance(value, Opaque):
                value.refuse()
        return function(*args, **named)

    return guarded


_NO_DEFAULT = object()
"""Distinguishes a default that is not given from any value."""


def _int(value: object, default: object = _NO_DEFAULT, base: int = 10) -> object:
    """Like Jinja's ``int``, which yields 0 for a text that is not a number."""
    found = JINJA_FILTERS["int"](value, _NO_DEFAULT, base)
    return found if found is not _NO_DEFAULT else _default(value, default, "int", "an integer")


def _float(value: object, default: object = _NO_DEFAULT) -> object:
    """Like Jinja's ``float``, which yields 0.0 for a text that is not a number."""
    found = JINJA_FILTERS["float"](value, _NO_DEFAULT)
    if found is not _NO_DEFAULT and math.isfinite(found):
        return found
    return _default(value, default, "float", "a number")


def _default(value: object, default: object, name: str, expected: str) -> object:
    if default is not _NO_DEFAULT:
        return default
    text = json.dumps(_json(value), ensure_ascii=False)
    shown = text if len(text) <= 60 else f"{text[:57]}..."
    raise RefusalError(f"{shown} is not {expected}", f"Give a default: `| {name}(0)`.")


def _raw(value: object) -> Raw:
    return Raw(_complete(value.value if isinstance(value, Argument) else value))


def _quote(value: object) -> Argument:
    return Argument(_complete(value.value if isinstance(value, Raw) else value))


def _complete(value: object) -> object:
    """The value; a list instead of an iterator, whose items could fail outside the expression."""
    return list(value) if isinstance(value, Iterator) else value


def _hash(value: object, length: int = 8) -> str:
    """The first hexadecimal digits of the SHA-256 of a string."""
    return hashlib.sha256(plain(value).encode("utf-8", "surrogatepass")).hexdigest()[:length]


_MAX_WIDTH = 1024
_WIDTHS = re.compile(r"%(?:\([^)]*\))?[-+ #0]*(\d*)(?:\.(\d*))?")
_STAR_WIDTH = re.compile(r"%(?:\([^)]*\))?[-+ #0]*(?:\d*\.)?\*")


def _zfill(value: object, width: int) -> str:
    if width > _MAX_WIDTH:
        raise RefusalError(f"`zfill` takes a width of at most {_MAX_WIDTH:,}")
    return plain(value).zfill(width)


def _replace(value: object, old: str, new: str) -> str:
    text, new = plain(value), plain(new)
    if len(text) + text.count(old) * len(new) > LIMIT:
        raise RefusalError(_TOO_LONG)
    return text.replace(old, new)


def _format(value: object, *arguments: object, **named: object) -> str:
    """Jinja's ``format``: ``"%05d" | format(index)``, with widths of bounded size."""
    template = plain(value)
    widths = [int(width) for found in _WIDTHS.findall(template) for width in found if width]
    if _STAR_WIDTH.search(template) or max(widths, default=0) > _MAX_WIDTH:
        raise RefusalError(f"`format` takes widths of at most {_MAX_WIDTH:,}")
    if len(template) + sum(widths) > LIMIT:
        raise RefusalError(_TOO_LONG)
    positional = tuple(map(_formatted, arguments))
    try:
        return template % ({key: _formatted(each) for key, each in named.items()} or positional)
    except KeyError as error:
        raise RefusalError(f"`format` has no value for {error}") from None


def _formatted(value: object) -> object:
    """A number unchanged, for ``%d`` and ``%f``; everything else as text."""
    return value if isinstance(value, int | float) and not isinstance(value, bool) else plain(value)


_MOST_PLACES = 300
"""The most decimal places of ``round``; a float has fewer. Jinja computes ``10**places``."""


def _round(value: object, precision: int = 0, method: str = "common") -> object:
    """Jinja's ``round``, with a precision of bounded size."""
    if abs(precision) > _MOST_PLACES:
        raise RefusalError(f"`round` takes a precision of at most {_MOST_PLACES}")
    return JINJA_FILTERS["round"](value, precision, method)


def _center(value: object, width: int = 80) -> str:
    """Jinja's ``center``, with a width of bounded size."""
    if width > _MAX_WIDTH:
        raise RefusalError(f"`center` takes a width of at most {_MAX_WIDTH:,}")
    return plain(value).center(width)


def _join(values: Iterable[object], between: str = "", attribute: str | None = None) -> str:
    """Like Jinja's ``join``; ``attribute`` names a member of each value."""
    strings = []
    for value in values:
        if attribute is not None and isinstance(value, Mapping):
            strings.append(plain(guard(value.get(attribute))))
        else:
            strings.append(plain(value))
    if sum(map(len, strings)) + len(strings) * len(between) > LIMIT:
        raise RefusalError(_TOO_LONG)
    return between.join(strings)


def to_json(value: object) -> str:
    """A value as JSON.

    Raises:
        RefusalError: it contains a secret, a URL, an undefined value or a number that is too large.
    """
    try:
        return json.dumps(_json(value), ensure_ascii=False, allow_nan=False)
    except ValueError:
        raise RefusalError(TOO_LARGE) from None


def _json(value: object) -> object:
    match guard(value):
        case Mapping() as members:
            return {str(key): _json(item) for key, item in members.items()}
        case list() | tuple() | Iterator() as items:
            return [_json(item) for item in items]
        case None | bool() | int() | float() | str() as scalar:
            return scalar
        case other:
            return plain(other)  # refuses opaque and undefined values


def _path(value: object) -> PurePosixPath:
    return PurePosixPath(plain(value).replace("\\", "/"))


FILTERS: Mapping[str, Callable[..., object]] = {
    **{name: _guarded(JINJA_FILTERS[name]) for name in _KEPT_FILTERS.split()},
    "int": _guarded(_int),
    "float": _guarded(_float),
    "round": _guarded(_round),
    "raw": _raw,
    "quote": _quote,
    "stem": lambda value: _path(value).stem,
    "suffix": lambda value: _path(value).suffix,
    "basename": lambda value: _path(value).name,
    "dirname": lambda value: str(_path(value).parent),
    "zfill": _zfill,
    "hash": _hash,
    "slug": lambda value: slug(plain(value)),
    "replace": _replace,
    "format": _format,
    "center": _center,
    "join": _join,
    "tojson": to_json,
    CONCAT: _join,
}
"""Filters by name."""

TESTS = {name: JINJA_TESTS[name] for name in _KEPT_TESTS.split()}
"""Tests (``is ...``) by name."""


class _Unknown(StrictUndefined):
    """An undefined name: every operation but ``default`` fails."""

    __slots__ = ()

    def __init__(
        self, hint: str | None = None, obj: object = missing, name: str | None = None
    ) -> None:
        super().__init__(hint, obj, name, RefusalError)  # type: ignore[arg-type]

    @property
    def _undefined_message(self) -> str:
        name = self._undefined_name
        if self._undefined_obj is missing:
            return f"`{name}` is not defined"
        return f"the value has no member `{name}`"


class _Scope(Context):
    """The names of one evaluation, looked up without copying the scope."""

    def resolve_or_missing(self, key: str) -> object:
        found = super().resolve_or_missing(key)
        return found if type(found) is str else guard(found)


class Sandbox(ImmutableSandboxedEnvironment):
    """The environment of every template. A template yields strings and, as 1-tuples, values."""

    code_generator_class = NativeCodeGenerator
    context_class = _Scope
    intercepted_binops = frozenset(("+", "*", "**", "%"))

    def __init__(self) -> None:
        super().__init__(
            # Only `{{ }}` is a delimiter: `{%` and `{#` belong to the shell (`${#list}`); Jinja
            # statements are refused earlier. A spec cannot contain these control characters.
            block_start_string="\0{",
            block_end_string="\0}",
            comment_start_string="\0(",
            comment_end_string="\0)",
            # A result that is computed early could be infinite; see `parsed`.
            optimized=False,
            undefined=_Unknown,
            finalize=_value,
            keep_trailing_newline=True,
            autoescape=False,
            cache_size=0,
        )
        self.globals = {}
        self.filters = dict(FILTERS)
        self.tests = dict(TESTS)

    def renderer(self, source: str) -> Callable[[Mapping[str, object]], Iterable[object]]:
        """Compile a template to a function from a scope to parts. The scope is not copied.

        Raises:
            RefusalError: the template has a syntax error.
        """
        try:
            tree = self.parsed(source)
            for concat in list(tree.find_all(nodes.Concat)):
                concat.nodes = [_concat(concat)]
            template = self.from_string(tree)
        except TemplateError as error:
            raise RefusalError(error.message or type(error).__name__) from error
        except (SyntaxError, RecursionError, MemoryError):
            # Of the Python code that Jinja generates.
            raise RefusalError(TOO_DEEP) from None
        render, scope_class = template.root_render_func, self.context_class

        def evaluated(scope: Mapping[str, object]) -> Iterator[object]:
            try:
                yield from render(scope_class(self, scope, None, {}))  # type: ignore[arg-type]
            except TemplateError as error:
                raise RefusalError(error.message or type(error).__name__) from error
            except _FAILURES as error:
                raise RefusalError(_reason(error)) from error

        return evaluated

    def parsed(self, source: str) -> nodes.Template:
        """The syntax tree of a template.

        Raises:
            TemplateSyntaxError: the template has a syntax error.
            RefusalError: an expression is too long, or contains a number that is too large.
            RecursionError: an expression is nested too deeply.
        """
        if len(source) > LONGEST and any(end - start > LONGEST for start, end in _spans(source)):
            raise RefusalError(f"an expression has more than {LONGEST:,} characters")
        try:
            tree = self.parse(source)
        except ValueError:
            # Python's limit of the digits of an integer.
            raise RefusalError("a number has too many digits") from None
        # Jinja writes an infinite number as the name `inf` into the Python code.
        if any(_is_infinite(constant.value) for constant in tree.find_all(nodes.Const)):
            raise RefusalError(TOO_LARGE)
        return tree

    def getattr(self, obj: object, attribute: str) -> object:
        """``obj.attribute``: a member of a mapping or a method of a string."""
        if isinstance(obj, _OBJECTS):
            try:
                return guard(obj[attribute])
            except KeyError:
                return self.undefined(obj=obj, name=attribute)
        if isinstance(obj, str) and attribute in METHODS:
            return getattr(obj, attribute)
        return self.undefined(obj=obj, name=attribute)

    def getitem(self, obj: object, argument: object) -> object:
        """``obj[argument]``: a member of a mapping or a part of a list or string."""
        if isinstance(obj, _OBJECTS):
            try:
                return guard(obj[argument])
            except KeyError:
                return self.undefined(obj=obj, name=str(argument))
        if isinstance(obj, str | list | tuple) and isinstance(argument, int | slice):
            return obj[argument]
        if isinstance(obj, Opaque):
            obj.refuse()
        return self.undefined(obj=obj, name=str(argument))

    def is_safe_callable(self, obj: object) -> bool:
        """Only the methods that ``getattr`` returns."""
        return getattr(obj, "__name__", "") in METHODS and isinstance(
            getattr(obj, "__self__", None), str
        )

    def call_binop(self, context: Context, operator: str, left: object, right: object) -> object:
        """Arithmetic, of bounded size."""
        for side in (left, right):
            if isinstance(side, Opaque):
                side.refuse()
        if operator == "%" and isinstance(left, str):
            raise RefusalError("`%` does not format strings", "Join strings with `~`.")
        if operator == "**":
            _bound_power(left, right)
        if operator == "*":
            _bound_repetition(left, right)
            _bound_repetition(right, left)
        return super().call_binop(context, operator, left, right)


@pass_context
def _value(_: Context, value: object) -> tuple[object]:
    """Mark a value, to distinguish it from the text around it.

    Passing the context prevents Jinja from folding constants into the text.
    """
    return (_complete(value),)


def _is_infinite(value: object) -> bool:
    return isinstance(value, float) and math.isinf(value)


def _reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, MemoryError):
        return "the result is too large"
    return str(error) or type(error).__name__


def name_path(node: nodes.Node) -> tuple[str, ...] | None:
    """``a.b['c']`` as names, or ``None`` for another expression."""
    match node:
        case nodes.Name(name=str(name)):
            return (name,)
        case nodes.Getattr(node=inner, attr=str(name)):
            above = name_path(inner)
        case nodes.Getitem(node=inner, arg=nodes.Const(value=str(name))):
            above = name_path(inner)
        case _:
            return None
    return None if above is None else (*above, name)


def _concat(node: nodes.Concat) -> nodes.Filter:
    """``a ~ b`` as a filter over a list; Jinja's operator converts any value to text."""
    return nodes.Filter(nodes.List(node.nodes), CONCAT, [], [], None, None, lineno=node.lineno)


def _bound_power(base: object, exponent: object) -> None:
    if not isinstance(base, int | float) or not isinstance(exponent, int | float):
        raise RefusalError("`**` requires numbers")
    if abs(exponent) > 1024 or abs(base) > 1e18:
        raise RefusalError("the result of `**` is too large")


def _bound_repetition(repeated: object, times: object) -> None:
    long = isinstance(repeated, str | list | tuple) and isinstance(times, int)
    if long and len(repeated) * times > LIMIT:  # type: ignore[arg-type,operator]
        raise RefusalError(_TOO_LONG)
