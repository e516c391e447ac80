"""The clients of an Azure Batch account and its Storage account.

In: an :data:`AnyAccount` (from :func:`account_from` or the embedded service). Out: an
:class:`AccountClient`, which implements :class:`batchspec.account.Account`; every failure of a
service is a ``ServiceError`` with a diagnostic. Also here: authentication, retries, rate
limiting, SAS, and the table from service error codes to diagnostics (:mod:`.errors`).

Not here: decisions (``plan``), order and progress (``apply``), formatted output (``render``). Only
this package imports the Azure SDKs, and no SDK model, SDK error or key leaves it. Importing the
package does not import the SDKs: :func:`open_account` does, because their import takes most of the
start time.
"""

from __future__ import annotations

from batchspec.cloud.account import (
    API_VERSION,
    AnyAccount,
    AzureAccount,
    LocalAccount,
    account_from,
    is_loopback,
)
from batchspec.cloud.client import AccountClient, open_account
from batchspec.cloud.sign_in import check_sign_in, is_readable_file
from batchspec.cloud.timing import Limits
