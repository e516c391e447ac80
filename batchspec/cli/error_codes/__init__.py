"""The errors of commands: those that no rule about a spec and no cause of waiting describes.

``batchspec explain`` and ``docs/findings.md`` show them. A test finds every code in the product.
"""

from batchspec.cli.error_codes.commands import ACCOUNT, COMMANDS, RUN
from batchspec.cli.error_codes.failures import FAILURES, failure_code
from batchspec.cli.error_codes.local import LOCAL
from batchspec.cli.error_codes.model import ErrorCode, ErrorGroup

GROUPS: tuple[ErrorGroup, ...] = (COMMANDS, RUN, FAILURES, ACCOUNT, LOCAL)

__all__ = ["GROUPS", "ErrorCode", "ErrorGroup", "failure_code"]
