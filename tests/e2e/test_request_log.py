"""``--debug`` in a process that has not imported the client before."""

from __future__ import annotations

import pytest

from tests.e2e.conftest import Workplace

REQUESTS = ("GET 127.0.0.1:", "/supportedimages -> 200", "/batchspeclocal/")


@pytest.mark.parametrize("how", ["option", "variable"])
def test_requests_to_batch_and_storage_are_logged(place: Workplace, how: str) -> None:
    if how == "variable":
        place.environ["BATCHSPEC_LOG"] = "debug"
    options = ["--debug"] if how == "option" else []
    done = Workplace.run(place, *options, "plan", place.spec)
    assert done.code == 0, done.text
    (log,) = place.spec.parent.glob(".batchspec/*/requests.log")
    written = log.read_text(encoding="utf-8")
    assert [each for each in REQUESTS if each not in written] == []
