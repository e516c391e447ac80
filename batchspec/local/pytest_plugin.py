"""For the tests of others: a pytest fixture that hands out a local Batch account.

What lives here: fixtures, and nothing else; it is the one module of this package that knows pytest.
It is loaded by each run of pytest where batchspec is installed; ``-p no:batchspec`` leaves it out.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from batchspec import local


@pytest.fixture
def batch_account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[local.Endpoints]:
    """A Batch account with its storage, empty and of this test alone, running until it is done.

    Raises:
        LocalError: the service cannot be started; its code and hint say why.
    """
    data = tmp_path_factory.mktemp("batch") / "account"
    try:
        yield local.start(data)
    finally:
        local.stop(data)
