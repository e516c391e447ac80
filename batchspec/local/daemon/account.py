"""The names and keys of the local accounts: made on the first start, kept for good."""

from __future__ import annotations

import base64
import json
import secrets
from dataclasses import asdict, dataclass, field
from typing import Self

from batchspec.local.daemon.home import Home, is_private, write_private
from batchspec.local.error import LocalError

_NAME = "batchspeclocal"
_KEY_BYTES = 64  # as long as Azure's


@dataclass(frozen=True, slots=True)
class Account:
    """A Batch account and a storage account; keys are base64."""

    batch_account: str
    batch_key: str = field(repr=False)
    blob_account: str
    blob_key: str = field(repr=False)

    @classmethod
    def read(cls, home: Home) -> Self | None:
        """The account of ``home``; ``None`` if none was made yet.

        Raises:
            LocalError: the file is damaged, or others can read it (``account-damaged``,
                ``account-exposed``).
        """
        path = home.account
        try:
            with home.writing():
                data, private = path.read_bytes(), is_private(path)
        except LocalError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                return None
            raise
        if not private:
            raise LocalError(
                "account-exposed",
                f"Others can read or write the account key in {path}.",
                hint=f"rm {path} for a new key, or chmod 600 {path} if it was never seen",
            )
        try:
            account = cls(**json.loads(data))
            base64.b64decode(account.batch_key, validate=True)
            base64.b64decode(account.blob_key, validate=True)
        except (TypeError, ValueError):
            # Without the cause: its text could hold the key.
            raise LocalError(
                "account-damaged",
                f"The file with the account's key, {path}, is damaged.",
                hint=f"rm {path} for a new key; the state stays",
            ) from None
        return account

    @classmethod
    def make(cls, home: Home) -> Self:
        """A new account with keys of its own, saved in ``home``."""
        account = cls(batch_account=_NAME, batch_key=_key(), blob_account=_NAME, blob_key=_key())
        with home.writing():
            write_private(home.account, json.dumps(asdict(account), indent=1) + "\n")
        return account


def _key() -> str:
    return base64.b64encode(secrets.token_bytes(_KEY_BYTES)).decode()
