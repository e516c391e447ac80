"""What moved since a plan was saved: what it rests on, and what that does to its steps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from batchspec.diagnostics import Diagnostic
from batchspec.plan.live import ABSENT
from batchspec.plan.plan import Ground

_STEPS = "the steps"
_MOST = 10
"""Parts of one ground, and steps, that are told of."""
_AGAIN = "Look at `batchspec plan` again, and save it anew."
_DONE = "All of it is done: there is nothing left to carry out."


def moved(saved: Mapping[str, Ground], now: Mapping[str, Ground]) -> Iterator[Diagnostic]:
    """A problem for each ground that is not what it was; of the steps :func:`stepped` tells."""
    for name in dict.fromkeys((*saved, *now)):
        before, after = saved.get(name, _NONE), now.get(name, _NONE)
        if before != after and name != _STEPS:
            yield _stale(f"{name} changed since it was saved", _lines(before, after))


def stepped(saved: Mapping[str, str], now: Mapping[str, str]) -> Diagnostic:
    """What that does to the steps, which are in words here, by their ids."""
    if not now:
        return _stale("no step of it is needed any more", (), _DONE)
    names = dict.fromkeys((*saved, *now))
    others = [name for name in names if saved.get(name) != now.get(name)]
    lines = (
        f"{name}\n  saved: {saved.get(name, 'not in the plan')}\n"
        f"  now:   {now.get(name, 'not needed')}"
        for name in others
    )
    what = "other steps are to be done" if others else "its steps would do something else"
    return _stale(what, lines, _AGAIN)


_NONE = Ground(ABSENT)


def _stale(what: str, details: Iterable[str], fix: str = "") -> Diagnostic:
    lines = list(details)
    if len(lines) > _MOST:
        lines[_MOST:] = [f"... and {len(lines) - _MOST} more"]
    return Diagnostic("plan-stale", f"the plan is stale: {what}", detail="\n".join(lines), fix=fix)


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
