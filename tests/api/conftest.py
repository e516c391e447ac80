"""The tutorial, for programs that import batchspec."""

from tests.e2e.conftest import place as place  # noqa: PLC0414 - a fixture of this folder, too
