"""Checks a formula without evaluating it: its syntax, names, types, and assignments.

Types are determined by a computation with one representative value of each type, which uses the
operators and functions of the evaluation. Both branches of a conditional are checked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from enum import Enum, auto

from batchspec.autoscale.evaluate import (
    ALIASES,
    CONSTANTS,
    DEDICATED,
    METRICS,
    OPTION,
    SPOT,
    check_target,
)
from batchspec.autoscale.syntax import (
    Binary,
    Call,
    Conditional,
    Expression,
    Formula,
    FormulaError,
    FormulaSyntaxError,
    Member,
    Name,
    Number,
    Position,
    String,
    Unary,
    parse,
)
from batchspec.autoscale.values import (
    MEMBERS,
    METHODS,
    SECOND,
    FormulaValueError,
    Interval,
    Series,
    Timestamp,
    Value,
    apply_binary,
    apply_unary,
    call_method,
    functions,
    last_sample,
    truth,
    type_name,
)
from batchspec.frozen import frozen


class FormulaCheck(Enum):
    """The subject of a problem of a formula."""

    SYNTAX = auto()
    """The text is not a formula."""
    UNKNOWN = auto()
    """A variable, function, method or member that does not exist."""
    TYPE = auto()
    """Values of types that cannot be combined, or a variable that cannot have the value."""
    NO_TARGET = auto()
    """No statement requests nodes."""
    OLD_NAME = auto()
    """An old name that the service still accepts."""


@frozen
class FormulaProblem:
    """A problem of a formula at a position; ``text`` is the text at the position.

    ``known`` are the names to suggest, in the spelling of a formula.
    """

    check: FormulaCheck
    at: Position
    text: str
    reason: str
    known: tuple[str, ...] = ()


def check(text: str) -> tuple[FormulaProblem, ...]:
    """The problems of a formula, in the order of its statements; without one it can be evaluated.

    An evaluation can still fail on its values, for example if a metric has no samples yet.
    """
    try:
        formula = parse(text)
    except FormulaSyntaxError as error:
        return (_syntax_problem(error),)
    checker = _Checker(formula)
    checker.run()
    return tuple(checker.problems)


def _syntax_problem(error: FormulaSyntaxError) -> FormulaProblem:
    reason = error.reason[:1].lower() + error.reason[1:]
    if error.expected:
        reason = f"`{error.expected}` is missing before {_shown(error.token)}"
    elif reason.startswith("unexpected"):
        reason = f"{_shown(error.token)} is not expected here"
    return FormulaProblem(FormulaCheck.SYNTAX, error.place, error.token, reason)


def _shown(token: str) -> str:
    return f"`{token}`" if token else "the end of the formula"


_NOW = Timestamp.of(datetime(2000, 1, 1, tzinfo=UTC))
_REPRESENTATIVES: Mapping[type, Value] = {
    float: 0.0,
    tuple: (0.0,),
    Interval: Interval(SECOND),
    Timestamp: _NOW,
    Series: Series("Metric", ((_NOW, 0.0),)),
}
"""A value of each type but string with which every operation of the type is defined."""

_TARGETS = (DEDICATED, SPOT)
_SETTABLE = (*_TARGETS, OPTION)
_SERVICE = frozenset((*_SETTABLE, *ALIASES, *METRICS))
_START = Position(1, 1)
_REPLACED_OPTION = "retaineddata"
"""Removed from API version 2026-10-01."""


class _Checker:
    """``own`` are the variables that the formula has set; after an error, the value is ``None``."""

    def __init__(self, formula: Formula) -> None:
        self._formula = formula
        self._functions = functions(_NOW, lambda: 0.0)
        self._own: dict[str, Value | None] = {}
        self._requested: dict[str, Expression] = {}
        self.problems: dict[FormulaProblem, None] = {}

    def run(self) -> None:
        """Check all statements up to an unconditional ``stop()``."""
        for statement in self._formula.statements:
            if isinstance(statement.value, Call) and _is_stop(statement.value):
                break
            if statement.target is None:
                self._value(statement.value)
            else:
                self._assign(statement.target, statement.value)
        self._check_targets()

    def _add(
        self,
        about: FormulaCheck,
        at: Position,
        text: str,
        reason: str,
        known: tuple[str, ...] = (),
    ) -> None:
        self.problems[FormulaProblem(about, at, text, reason, known)] = None

    # --- assignments

    def _assign(self, target: Name, expression: Expression) -> None:
        value = self._value(expression)
        name = target.name
        if (target.dollar and name in METRICS) or (not target.dollar and name in CONSTANTS):
            reason = f"`{_written(target)}` cannot be set; it is read-only"
            self._add(FormulaCheck.TYPE, target.at, _written(target), reason)
        elif target.dollar and ALIASES.get(name, name) in _SETTABLE:
            self._check_alias(target)
            name = ALIASES.get(name, name)
            self._requested[name] = expression
            for leaf in _leaves(expression):
                self._check_setting(target, leaf)
        else:
            self._own[name] = value

    def _check_setting(self, target: Name, leaf: Expression) -> None:
        """A value that a variable of the service can get."""
        value = leaf.value if isinstance(leaf, Number) else self._value(leaf)
        if value is None:
            return
        if value == _REPLACED_OPTION:
            reason = f"`{_REPLACED_OPTION}` is not an option in later versions of the service"
            self._add(FormulaCheck.OLD_NAME, leaf.at, _REPLACED_OPTION, reason, ("taskcompletion",))
        try:
            check_target(target, value)
        except FormulaError as error:
            self._add(FormulaCheck.TYPE, leaf.at, _text(leaf), error.reason)

    def _check_alias(self, name: Name) -> None:
        if (full := ALIASES.get(name.name)) is not None:
            reason = f"`${name.name}` is an old name of `${full}`"
            self._add(FormulaCheck.OLD_NAME, name.at, _written(name), reason, (f"${full}",))

    def _check_targets(self) -> None:
        """Whether a statement requests nodes."""
        requested = [self._requested[name] for name in _TARGETS if name in self._requested]
        if not requested:
            meant = self._meant_as_target()
            at, text = (meant.at, _written(meant)) if meant is not None else (_START, "")
            reason = f"the formula sets neither `${DEDICATED}` nor `${SPOT}`"
            known = tuple(f"${name}" for name in _TARGETS) if meant is not None else ()
            self._add(FormulaCheck.NO_TARGET, at, text, reason, known)
        elif all(isinstance(value, Number) and value.value < 1 for value in requested):
            reason = "the formula always requests 0 nodes"
            self._add(FormulaCheck.NO_TARGET, requested[0].at, _text(requested[0]), reason)

    def _meant_as_target(self) -> Name | None:
        """A variable of the formula whose name resembles a target."""
        for statement in self._formula.statements:
            name = statement.target
            if name is not None and name.name.lower().startswith("target"):
                return None if name.dollar and name.name in _SERVICE else name
        return None

    # --- expressions

    def _value(self, expression: Expression) -> Value | None:
        """A representative of the expression's type; ``None`` if it has an error."""
        try:
            return _representative(self._compute(expression))
        except FormulaValueError as error:
            reason = str(error)
            reason = reason[:1].lower() + reason[1:]
            self._add(FormulaCheck.TYPE, expression.at, _text(expression), reason)
        return None

    def _compute(self, expression: Expression) -> Value | None:  # noqa: PLR0911  one a node
        match expression:
            case Number():
                return 0.0
            case String(_, text):
                return text
            case Name():
                return self._look_up(expression)
            case Unary(_, mark, operand):
                value = self._value(operand)
                return None if value is None else apply_unary(mark, value)
            case Binary():
                return self._binary(expression)
            case Conditional(_, test, yes, no):
                if (tested := self._value(test)) is not None:
                    truth(tested)
                return _joined(self._value(yes), self._value(no))
            case Call():
                return self._call(expression)
            case Member():
                return self._member(expression)

    def _binary(self, last: Binary) -> Value | None:
        """A chain of operators of any length, without recursion."""
        chain = [last]
        while isinstance(chain[-1].left, Binary):
            chain.append(chain[-1].left)
        value = self._value(chain[-1].left)
        for part in reversed(chain):
            right = self._value(part.right)
            try:
                value = _combined(part.operator, value, right)
            except FormulaValueError as error:
                reason = str(error).replace("Operator", "the operator", 1)
                self._add(FormulaCheck.TYPE, part.at, part.operator, reason)
                value = None
        return value

    def _look_up(self, name: Name) -> Value | None:
        if name.dollar:
            self._check_alias(name)
            service = ALIASES.get(name.name, name.name)
            if service in _TARGETS:
                return 0.0
            if service == OPTION:
                return "requeue"
            if service in METRICS:
                return _REPRESENTATIVES[Series]
        if name.name in self._own:
            return self._own[name.name]
        if not name.dollar and name.name in CONSTANTS:
            return CONSTANTS[name.name]
        later = any(s.target and s.target.name == name.name for s in self._formula.statements)
        reason = f"`{_written(name)}` is not a variable"
        if not name.dollar and name.name in _SERVICE:
            reason = f"`{name.name}` is written without its `$`"
        elif later:
            reason = f"`{_written(name)}` is used before it is set"
        known = () if later else tuple(self._names())
        self._add(FormulaCheck.UNKNOWN, name.at, _written(name), reason, known)
        return None

    def _names(self) -> Iterator[str]:
        yield from (f"${name}" for name in (*_SETTABLE, *METRICS))
        yield from self._own
        yield from CONSTANTS

    def _call(self, call: Call) -> Value | None:
        values = [self._value(argument) for argument in call.arguments]
        if _is_stop(call):
            return None
        function = self._functions.get(call.name)
        if function is None:
            known = (*self._functions, "stop")
            reason = f"`{call.name}` is not a function"
            self._add(FormulaCheck.UNKNOWN, call.at, call.name, reason, known)
            return None
        arguments = tuple(value for value in values if value is not None)
        return function(arguments) if len(arguments) == len(values) else None

    def _member(self, member: Member) -> Value | None:
        owner = self._value(member.owner)
        values = [self._value(argument) for argument in member.arguments or ()]
        if owner is None:
            return None
        if isinstance(owner, Series) and member.name in METHODS and member.arguments is None:
            raise FormulaValueError(f"The method `{member.name}` is written without `()`")
        known = METHODS if isinstance(owner, Series) else MEMBERS
        if member.name not in known or not isinstance(owner, Series | Timestamp):
            names = tuple(known) if isinstance(owner, Series | Timestamp) else ()
            reason = f"a {type_name(owner)} has no member `{member.name}`"
            self._add(FormulaCheck.UNKNOWN, member.at, f".{member.name}", reason, names)
            return None
        if isinstance(owner, Timestamp):
            if member.arguments is not None:
                raise FormulaValueError(f"`{member.name}` is not a method; it has no `()`")
            return owner.member(member.name)
        arguments = tuple(last_sample(value) for value in values if value is not None)
        if len(arguments) != len(values):
            return None
        return call_method(owner, member.name, arguments, _NOW)


def _is_stop(call: Call) -> bool:
    return call.name == "stop" and not call.arguments


def _representative(value: Value | None) -> Value | None:
    return value if value is None else _REPRESENTATIVES.get(type(value), value)


def _joined(yes: Value | None, no: Value | None) -> Value | None:
    """The value of a conditional; unknown if its branches differ in type."""
    return yes if type(yes) is type(no) and yes == no else None


def _combined(operator: str, left: Value | None, right: Value | None) -> Value | None:
    if operator not in ("&&", "||"):
        known = left is not None and right is not None
        return _representative(apply_binary(operator, left, right)) if known else None  # type: ignore[arg-type]
    for side in (left, right):
        if side is not None:
            truth(side)
    return 0.0


def _leaves(expression: Expression) -> Iterator[Expression]:
    """The expressions of which a conditional yields one."""
    if isinstance(expression, Conditional):
        yield from _leaves(expression.yes)
        yield from _leaves(expression.no)
    else:
        yield expression


def _written(name: Name) -> str:
    return f"${name.name}" if name.dollar else name.name


def _text(expression: Expression) -> str:  # noqa: PLR0911  one for each kind of node
    """The text at the position of an expression."""
    match expression:
        case Name():
            return _written(expression)
        case Call(_, name):
            return name
        case Member(_, _, name):
            return f".{name}"
        case Unary(_, mark) | Binary(_, mark):
            return mark
        case String(_, text):
            return text
        case Number(_, value):
            return f"{value:g}"
        case Conditional():
            return "?"
