"""The public interface of the package: all names can be imported; light ones stay light."""

from __future__ import annotations

import subprocess
import sys

import pytest

from batchspec import spec


@pytest.mark.parametrize("name", spec.__all__)
def test_every_public_name_can_be_imported(name: str) -> None:
    assert getattr(spec, name) is not None


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        spec.no_such_name  # noqa: B018


def test_values_are_imported_without_a_parser() -> None:
    code = "import sys; from batchspec.spec import Record; sys.exit('yaml' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
