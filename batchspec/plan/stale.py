"""What moved since a plan was saved: a problem for each ground that is another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from batchspec.plan.live import ABSENT
from batchspec.plan.plan import Ground
from batchspec.problems import Problem

_STEPS = "the steps"
_MOST = 10
"""Parts of one ground that are told of."""


def moved(saved: Mapping[str, Ground], now: Mapping[str, Ground]) -> Iterator[Problem]:
    """A problem for each ground that is not what it was; the steps alone are told of elsewhere."""
    for name in dict.fromkeys((*saved, *now)):
        before, after = saved.get(name, _NONE), now.get(name, _NONE)
        if before != after and name != _STEPS:
            yield _stale(name, before, after)


_NONE = Ground(ABSENT)


def _stale(name: str, saved: Ground, now: Ground) -> Problem:
    lines = list(_lines(saved, now))
    if len(lines) > _MOST:
        lines[_MOST:] = [f"... and {len(lines) - _MOST} more"]
    return Problem(
        "plan-stale",
        f"the plan is stale: {name} changed since it was saved",
        detail="\n".join(lines),
        hint="Look at `batchspec plan` again, and save it anew.",
    )


def _lines(saved: Ground, now: Ground) -> Iterator[str]:
    """The value, and each part, that is another."""
    if _shown(saved.value) != _shown(now.value):
        yield f"{_shown(saved.value)} -> {_shown(now.value)}"
    if not saved.parts or not now.parts:
        # It is new or gone, or too many to be told apart: there is nothing to compare with.
        return
    before, after = dict(saved.parts), dict(now.parts)
    for name in dict.fromkeys((*before, *after)):
        was, is_ = before.get(name, ABSENT), after.get(name, ABSENT)
        if was == is_:
            continue
        same = _shown(was) == _shown(is_)
        yield f"{name}: changed" if same else f"{name}: {_shown(was)} -> {_shown(is_)}"


def _shown(text: str) -> str:
    """A text without its digest."""
    return text.partition("#")[0].strip() or "set"
