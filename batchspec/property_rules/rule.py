"""The type of a property rule, and the kinds of rules in the tables."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from enum import Enum
from typing import Final, Literal, TypeAlias

from batchspec.frozen import frozen


class _Unknown(Enum):
    UNKNOWN = "a value that is not known yet"


UNKNOWN: Final = _Unknown.UNKNOWN
"""The unknown value of a property that is set: a secret, or a template that varies from task to
task. No rule reports it."""


@frozen
class Properties:
    """An object of a request: the name of its model in the SDK, and its members by REST name."""

    model: str
    members: Mapping[str, PropertyValue]

    def get(self, *path: str) -> PropertyValue:
        """The member at a path of names; ``None`` if it is absent, UNKNOWN if it may be present."""
        if len(path) == 1:
            return self.members.get(path[0])
        value: PropertyValue = self
        for name in path:
            if not isinstance(value, Properties):
                return value if value is UNKNOWN else None
            value = value.members.get(name)
        return value

    def list(self, *path: str) -> Sequence[PropertyValue]:
        """The items of a list; none if it is absent or not known."""
        value = self.get(*path)
        return value if isinstance(value, tuple) else ()

    def objects(self, *path: str) -> Iterator[tuple[int, Properties]]:
        """The objects of a list with their indexes."""
        for index, item in enumerate(self.list(*path)):
            if isinstance(item, Properties):
                yield index, item

    def number(self, *path: str) -> int | None:
        """An integer; ``None`` if it is absent or not known."""
        value = self.get(*path)
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    def text(self, *path: str) -> str | None:
        """A string; ``None`` if it is absent or not known."""
        value = self.get(*path)
        return value if isinstance(value, str) else None

    def word(self, *path: str) -> str | None:
        """A string in lower case: the service ignores case in the values of enumerations."""
        value = self.text(*path)
        return None if value is None else value.lower()

    def has(self, *path: str) -> bool:
        """Whether a property is set, whatever its value."""
        return self.get(*path) is not None


_Scalar: TypeAlias = str | int | float | bool | timedelta | _Unknown | None
PropertyValue: TypeAlias = "Properties | tuple[PropertyValue, ...] | _Scalar"

Path: TypeAlias = tuple["str | int", ...]
"""REST names and indexes of lists, from the object that a rule checks."""


@frozen
class Found:
    """One property that breaks a rule. ``message`` has REST names in backticks.

    ``fix`` replaces the fix of the rule. ``missing`` is the name of a property that is required and
    absent; the code of the finding is then ``missing-key``.
    """

    path: Path
    message: str
    fix: str = ""
    missing: str = ""


Check: TypeAlias = Callable[[Properties], Iterable[Found]]


INVALID, MISSING = "InvalidPropertyValue", "MissingRequiredProperty"
"""Error codes of the service. The second one is for a required property that is absent."""


@frozen
class PropertyRule:
    """A rule that the Batch reference states about properties of one object.

    ``name`` identifies the rule; ``models`` are the objects that it checks, ``properties`` are the
    REST names in it. ``text`` states the rule in one sentence. ``code`` and ``fix`` are those of
    the finding of ``validate``; ``faults`` are the service's error codes, and ``reason`` is the
    recorded text of the service, if there is a recording. ``accepted``: the service accepts the
    request, which fails later.
    """

    name: str
    models: tuple[str, ...]
    properties: tuple[str, ...]
    code: str
    text: str
    check: Check
    fix: str = ""
    faults: tuple[str, ...] = (INVALID,)
    reason: str = ""
    accepted: bool = False
    severity: Literal["error", "warning"] = "error"


POOLS = ("BatchPoolCreateOptions", "BatchPoolSpecification")
JOBS = ("BatchJobCreateOptions", "BatchJobSpecification")
MANAGER = "BatchJobManagerTask"
TASK = "BatchTaskCreateOptions"
RELEASE = "BatchJobReleaseTask"
LARGEST_INTEGER = 2**31 - 1
"""The limit of an integer in a request: the reference declares these properties as ``int32``."""


def shown(value: object) -> str:
    """A value in a message, shortened."""
    if isinstance(value, timedelta):
        return length(value)
    text = str(value) if not isinstance(value, str) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def length(duration: timedelta) -> str:
    """A duration in words, in its largest whole unit."""
    seconds = duration.total_seconds()
    for unit, size in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        # 168 hours is the form of the reference.
        if seconds and seconds % size == 0 and (unit != "days" or duration.days != 7):
            count = int(seconds // size)
            return f"{count} {unit}" if count != 1 else f"1 {unit[:-1]}"
    return f"{seconds:g} seconds"


def in_range(
    name: str,
    models: tuple[str, ...],
    prop: str,
    least: int,
    most: int | None = None,
    *,
    also: int | None = None,
    reserved: tuple[int, ...] = (),
) -> PropertyRule:
    """An integer from ``least`` to ``most``, or ``also``, except the ``reserved`` integers.

    Without ``most``, the limit is the limit of the property's type in the reference.
    """
    bounds = f"from {least} to {most}" if most is not None else f"at least {least}"
    bounds += f", or {also} for no limit" if also is not None else ""
    bounds += f", except {' and '.join(map(str, reserved))}" if reserved else ""

    def check(given: Properties) -> Iterator[Found]:
        value = given.number(prop)
        if value is None or value == also:
            return
        if value < least or (most is not None and value > most) or value in reserved:
            yield Found((prop,), f"`{prop}` must be {bounds}, not {value}")
        elif value > LARGEST_INTEGER:
            yield Found((prop,), f"`{prop}` must be at most {LARGEST_INTEGER}, not {shown(value)}")

    return PropertyRule(
        name, models, (prop,), "out-of-range", f"`{prop}` must be {bounds}.", check,
        "Use a value within these bounds.",
    )  # fmt: skip


def lasts(
    name: str,
    models: tuple[str, ...],
    prop: str,
    least: timedelta | None = None,
    most: timedelta | None = None,
) -> PropertyRule:
    """A duration from ``least`` (without it: more than 0) to ``most``."""
    bounds = [f"at least {length(least)}" if least else "at least 0"] if least is not None else []
    bounds += ["greater than 0"] if least is None else []
    bounds += [f"at most {length(most)}"] if most is not None else []
    words = " and ".join(bounds)

    def check(given: Properties) -> Iterator[Found]:
        value = given.get(prop)
        if not isinstance(value, timedelta):
            return
        short = value <= timedelta() if least is None else value < least
        if short or (most is not None and value > most):
            yield Found((prop,), f"`{prop}` must be {words}, not {length(value)}")

    return PropertyRule(
        name, models, (prop,), "out-of-range", f"`{prop}` must be {words}.", check,
        "Use a value within these bounds.",
    )  # fmt: skip


def max_length(
    name: str, models: tuple[str, ...], prop: str, most: int, code: str = "too-long"
) -> PropertyRule:
    """A string of at most ``most`` characters."""

    def check(given: Properties) -> Iterator[Found]:
        text = given.text(prop)
        if text is not None and len(text) > most:
            yield Found((prop,), f"`{prop}` has {len(text):,} characters; the maximum is {most:,}")

    text = f"`{prop}` has at most {most:,} characters."
    return PropertyRule(name, models, (prop,), code, text, check, "Shorten it.")


def max_items(name: str, models: tuple[str, ...], prop: str, most: int, code: str) -> PropertyRule:
    """A list of at most ``most`` items."""

    def check(given: Properties) -> Iterator[Found]:
        count = len(given.list(prop))
        if count > most:
            yield Found((prop,), f"`{prop}` has {count:,} items; the maximum is {most:,}")

    text = f"`{prop}` has at most {most:,} items."
    return PropertyRule(name, models, (prop,), code, text, check, "Remove some of them.")


def matches(
    name: str,
    models: tuple[str, ...],
    prop: str,
    pattern: str,
    form: str,
    *,
    items: bool = False,
    fix: str = "Write it in this form.",
    reason: str = "",
) -> PropertyRule:
    """A string (or each of a list) that matches a pattern in any case; ``form`` describes it."""

    def check(given: Properties) -> Iterator[Found]:
        values = given.list(prop) if items else (given.get(prop),)
        for index, value in enumerate(values):
            # Compiled on first use: most specs have none of these properties.
            if isinstance(value, str) and not re.fullmatch(pattern, value, re.IGNORECASE):
                path: Path = (prop, index) if items else (prop,)
                yield Found(path, f"`{prop}` must be {form}, not {shown(value)}")

    text = f"`{prop}` must be {form}."
    return PropertyRule(name, models, (prop,), "bad-format", text, check, fix, reason=reason)


def one_of(
    name: str, models: tuple[str, ...], props: tuple[str, ...], *, required: bool
) -> PropertyRule:
    """At most one of the properties, or with ``required`` exactly one."""
    names = f"{', '.join(f'`{prop}`' for prop in props[:-1])} and `{props[-1]}`"

    def check(given: Properties) -> Iterator[Found]:
        present = [prop for prop in props if given.has(prop)]
        for prop in present[1:]:
            yield Found((prop,), f"`{prop}` and `{present[0]}` cannot be combined")
        if required and not present:
            yield Found((), f"one of {names} is required", "Add one of them.", props[0])

    text = f"{'Exactly' if required else 'At most'} one of {names}."
    faults = (INVALID, MISSING) if required else (INVALID,)
    fix = "Remove one of them."
    return PropertyRule(name, models, props, "either-or", text, check, fix, faults)


def requires(
    name: str,
    models: tuple[str, ...],
    prop: str,
    needed: str,
    *,
    fix: str = "",
) -> PropertyRule:
    """A property that requires another one."""

    def check(given: Properties) -> Iterator[Found]:
        if given.has(prop) and not given.has(needed):
            yield Found((prop,), f"`{prop}` requires `{needed}`", missing=needed)

    text = f"`{prop}` requires `{needed}`."
    fix = fix or f"Add `{needed}`, or remove `{prop}`."
    return PropertyRule(name, models, (prop, needed), "missing-key", text, check, fix, (MISSING,))


def ordered(name: str, models: tuple[str, ...], low: str, high: str) -> PropertyRule:
    """A range whose end is not before its start."""

    def check(given: Properties) -> Iterator[Found]:
        first, last = given.number(low), given.number(high)
        if first is not None and last is not None and last < first:
            yield Found((high,), f"`{high}` ({last}) must not be less than `{low}` ({first})")

    text = f"`{high}` must not be less than `{low}`."
    fix = f"Swap `{low}` and `{high}`."
    return PropertyRule(name, models, (low, high), "out-of-range", text, check, fix)


def unique(name: str, models: tuple[str, ...], prop: str, member: str) -> PropertyRule:
    """A list of objects in which a member has different values; case is ignored."""

    def check(given: Properties) -> Iterator[Found]:
        seen: set[object] = set()
        for index, item in given.objects(prop):
            value = item.get(member)
            key = value.lower() if isinstance(value, str) else value
            if key is None or key is UNKNOWN:
                continue
            if key in seen:
                yield Found(
                    (prop, index, member), f"another entry has the same `{member}` {shown(value)}"
                )
            seen.add(key)

    text = f"`{member}` must be unique in `{prop}`."
    fix = f"Change or remove one of the two entries of `{prop}`."
    return PropertyRule(name, models, (f"{prop}.{member}",), "same-value", text, check, fix)


def rule(
    name: str,
    models: tuple[str, ...],
    properties: tuple[str, ...],
    code: str,
    text: str,
    *,
    fix: str,
    faults: tuple[str, ...] = (INVALID,),
    accepted: bool = False,
    severity: Literal["error", "warning"] = "error",
) -> Callable[[Check], PropertyRule]:
    """A rule of any other kind: a decorator of its check."""

    def make(check: Check) -> PropertyRule:
        return PropertyRule(
            name, models, properties, code, text, check, fix, faults, "", accepted, severity
        )

    return make
