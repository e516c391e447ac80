"""The public interface of the package: values are imported without a parser."""

from __future__ import annotations

import subprocess
import sys

import pytest

from batchspec import spec


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        spec.no_such_name  # noqa: B018


def test_values_are_imported_without_a_parser() -> None:
    code = "import sys; from batchspec.spec import Record; sys.exit('yaml' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
