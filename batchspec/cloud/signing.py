"""Addresses that carry a SAS, minted when a body is sent and never earlier.

With an account key the signature is made of the key; without one, of a user delegation key that
is fetched when needed, kept, and renewed before it is too short for what is asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from azure.storage.blob import UserDelegationKey, generate_blob_sas, generate_container_sas

from batchspec.cloud.account import AnyAccount
from batchspec.cloud.errors import translated
from batchspec.diagnostics import Diagnostic, Secret, ServiceError
from batchspec.spec import BlobUrl

if TYPE_CHECKING:
    from azure.storage.blob.aio import BlobServiceClient

SKEW = timedelta(minutes=15)
"""How far the clocks of the client and the service may be apart: Azure's own advice for ``st``."""

LONGEST_DELEGATED = timedelta(days=7) - timedelta(hours=1)
"""A user delegation key lives for seven days at most; an hour is left for clocks and renewal."""

_STEP = timedelta(minutes=5)
_KEPT = 4096


class Mint:
    """Makes signers for a storage account."""

    def __init__(
        self, account: AnyAccount, service: BlobServiceClient, now: Callable[[], datetime]
    ) -> None:
        self._account = account
        self._service = service
        self._now = now
        self._delegated: tuple[datetime, UserDelegationKey] | None = None
        self._asking = asyncio.Lock()
        self._signers: dict[timedelta, Signer] = {}

    @property
    def longest(self) -> timedelta | None:
        """The longest life that a SAS of this account can have; ``None``: no bound."""
        return LONGEST_DELEGATED if self._account.blob_key is None else None

    async def signer(self, lifetime: timedelta) -> Signer:
        """A signer of addresses that stay valid for ``lifetime`` from now on, at least.

        Raises:
            ServiceError: ``sas-too-long`` if the account cannot sign for so long; refusals.
        """
        now = self._now()
        kept = self._signers.get(lifetime)
        if kept is not None and kept.good_until >= now + lifetime:
            return kept
        # A little longer than asked, so that what is sent in the next minutes can share it.
        expiry = now + lifetime + _STEP
        longest = self.longest
        if longest is not None:
            if lifetime > longest:
                raise _too_long(lifetime, longest)
            expiry = min(expiry, now + longest)
        delegated = None
        if self._account.blob_key is None:
            delegated = await self._delegation(expiry)
        made = Signer(self._account, now - SKEW, expiry, delegated)
        self._signers = {lifetime: made}
        return made

    async def _delegation(self, until: datetime) -> UserDelegationKey:
        async with self._asking:
            if self._delegated is not None and self._delegated[0] >= until:
                return self._delegated[1]
            now = self._now()
            expiry = now + LONGEST_DELEGATED
            with translated("signing for the nodes"):
                key = await self._service.get_user_delegation_key(now - SKEW, expiry)
            self._delegated = (expiry, key)
            return key


class Signer:
    """Signs addresses of one storage account with one time of validity: call it with a BlobUrl."""

    def __init__(
        self,
        account: AnyAccount,
        start: datetime,
        expiry: datetime,
        delegated: UserDelegationKey | None,
    ) -> None:
        self._account = account
        self._start = start
        self._delegated = delegated
        self._made: dict[BlobUrl, str] = {}
        self.good_until = expiry

    def __call__(self, url: BlobUrl) -> str:
        """The address, with a SAS if it asks for permissions."""
        made = self._made.get(url)
        if made is None:
            if len(self._made) >= _KEPT:
                self._made.clear()
            made = self._made[url] = self._make(url)
        return made

    def _make(self, url: BlobUrl) -> str:
        address = blob_address(self._account.blob_url, url.container, url.blob)
        if not url.permissions:
            return address
        key: Secret | None = self._account.blob_key
        # `https` alone, unless the store itself speaks plain http: the local one does.
        plain = urlsplit(self._account.blob_url).scheme == "http"
        about = {
            "account_name": self._account.blob_account,
            "container_name": url.container,
            "account_key": key.reveal() if key else None,
            "user_delegation_key": self._delegated,
            "permission": url.permissions,
            "start": self._start,
            "expiry": self.good_until,
            "protocol": "https,http" if plain else "https",
        }
        if url.blob is None:
            sas = generate_container_sas(**about)  # type: ignore[arg-type]
        else:
            sas = generate_blob_sas(blob_name=url.blob, **about)  # type: ignore[arg-type]
        return f"{address}?{sas}"


def blob_address(root: str, container: str, blob: str | None) -> str:
    """The address of a container or a blob, with every special character of the name encoded."""
    address = f"{root.rstrip('/')}/{quote(container)}"
    return address if blob is None else f"{address}/{quote(blob, safe='~/')}"


def _too_long(lifetime: timedelta, longest: timedelta) -> ServiceError:
    problem = Diagnostic(
        "sas-too-long",
        f"the nodes need addresses that are valid for {lifetime}; without the storage account's"
        f" key they can be signed for {longest}",
        fix="shorten max_wall_clock_time, bring a schedule's `until` nearer, or set"
        " AZURE_STORAGE_KEY",
    )
    return ServiceError(problem, code="sas-too-long")
