"""The table from actions to functions."""

from __future__ import annotations

from typing import get_args

from batchspec.apply.dispatch import HANDLERS
from batchspec.plan.actions import Action


def test_every_action_has_a_function() -> None:
    assert set(HANDLERS) == set(get_args(Action))
