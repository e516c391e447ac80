"""Jinja2 with everything taken out that a spec has no use for.

Expressions see the members of mappings, a few methods of strings, and the filters: no attribute of
a Python object can be reached, nothing is loaded, nothing grows without bound. Words for the user
come as :class:`~batchspec.spec.held.RefusalError`; ``template`` makes problems of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from jinja2 import StrictUndefined, TemplateError, nodes, pass_context
from jinja2.nativetypes import NativeCodeGenerator
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import missing

from batchspec.spec.filters import CONCAT, FILTERS, TESTS
from batchspec.spec.held import LIMIT, Held, RefusalError, guard

_METHODS = """
startswith endswith upper lower title capitalize strip lstrip rstrip removeprefix removesuffix
split rsplit splitlines partition rpartition find count isdigit isalpha isalnum isupper islower
"""

_OBJECTS = (dict, Mapping)

METHODS = frozenset(_METHODS.split())
"""The methods of a string that an expression may call."""


class _Unknown(StrictUndefined):
    """What a name that is not there stands for: anything done with it but ``default`` fails."""

    __slots__ = ()

    def __init__(
        self, hint: str | None = None, obj: object = missing, name: str | None = None
    ) -> None:
        super().__init__(hint, obj, name, RefusalError)  # type: ignore[arg-type]

    @property
    def _undefined_message(self) -> str:
        name = self._undefined_name
        if self._undefined_obj is missing:
            return f"there is no `{name}`"
        return f"there is no `{name}` in it"


class _Scope(Context):
    """The names of one evaluation, looked up where they are and not copied."""

    def resolve_or_missing(self, key: str) -> object:
        found = super().resolve_or_missing(key)
        return found if type(found) is str else guard(found)


class Sandbox(ImmutableSandboxedEnvironment):
    """The environment of every template. Its templates yield text and, as 1-tuples, values."""

    code_generator_class = NativeCodeGenerator
    context_class = _Scope
    intercepted_binops = frozenset(("+", "*", "**", "%"))

    def __init__(self) -> None:
        super().__init__(
            # Only `{{ }}` is a mark: `{%` and `{#` are the shell's (`${#list}`), and what looks
            # like a statement is refused before it gets here. No spec can hold these characters.
            block_start_string="\0{",
            block_end_string="\0}",
            comment_start_string="\0(",
            comment_end_string="\0)",
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
        """A template as a function from scope to parts. The scope is not copied.

        Raises:
            RefusalError: the template cannot be read.
        """
        try:
            tree = self.parse(source)
            for concat in list(tree.find_all(nodes.Concat)):
                concat.nodes = [_concat(concat)]
            template = self.from_string(tree)
        except TemplateError as error:
            raise RefusalError(error.message or type(error).__name__) from error
        render, scope_class = template.root_render_func, self.context_class

        def evaluated(scope: Mapping[str, object]) -> Iterator[object]:
            try:
                yield from render(scope_class(self, scope, None, {}))  # type: ignore[arg-type]
            except TemplateError as error:
                raise RefusalError(error.message or type(error).__name__) from error

        return evaluated

    def getattr(self, obj: object, attribute: str) -> object:
        """``obj.attribute``: a member of a mapping, or a method of a string."""
        if isinstance(obj, _OBJECTS):
            try:
                return guard(obj[attribute])
            except KeyError:
                return self.undefined(obj=obj, name=attribute)
        if isinstance(obj, str) and attribute in METHODS:
            return getattr(obj, attribute)
        return self.undefined(obj=obj, name=attribute)

    def getitem(self, obj: object, argument: object) -> object:
        """``obj[argument]``: a member of a mapping, or a part of a list or string."""
        if isinstance(obj, _OBJECTS):
            try:
                return guard(obj[argument])
            except KeyError:
                return self.undefined(obj=obj, name=str(argument))
        if isinstance(obj, str | list | tuple) and isinstance(argument, int | slice):
            return obj[argument]
        if isinstance(obj, Held):
            obj.refuse()
        return self.undefined(obj=obj, name=str(argument))

    def is_safe_callable(self, obj: object) -> bool:
        """Only the methods that ``getattr`` hands out."""
        return getattr(obj, "__name__", "") in METHODS and isinstance(
            getattr(obj, "__self__", None), str
        )

    def call_binop(self, context: Context, operator: str, left: object, right: object) -> object:
        """Arithmetic, of bounded size."""
        for side in (left, right):
            if isinstance(side, Held):
                side.refuse()
        if operator == "%" and isinstance(left, str):
            raise RefusalError("`%` formats no text here", "Join texts with `~`.")
        if operator == "**":
            _bound_power(left, right)
        if operator == "*":
            _bound_repetition(left, right)
            _bound_repetition(right, left)
        return super().call_binop(context, operator, left, right)


@pass_context
def _value(_: Context, value: object) -> tuple[object]:
    """Mark a value, so that it can be told from the text around it.

    Asking for the context keeps Jinja from folding constants into the text.
    """
    return (value,)


def name_path(node: nodes.Node) -> tuple[str, ...] | None:
    """``a.b['c']`` as names, or ``None`` if it is something else."""
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
    """``a ~ b`` as a filter over a list: Jinja's own would make text of anything."""
    return nodes.Filter(nodes.List(node.nodes), CONCAT, [], [], None, None, lineno=node.lineno)


def _bound_power(base: object, exponent: object) -> None:
    if not isinstance(base, int | float) or not isinstance(exponent, int | float):
        raise RefusalError("`**` takes numbers")
    if abs(exponent) > 1024 or abs(base) > 1e18:
        raise RefusalError("the power is too large")


def _bound_repetition(repeated: object, times: object) -> None:
    long = isinstance(repeated, str | list | tuple) and isinstance(times, int)
    if long and len(repeated) * times > LIMIT:  # type: ignore[arg-type,operator]
        raise RefusalError(f"a text of more than {LIMIT:,} characters")
