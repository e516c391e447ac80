"""Shared access signatures (SAS) of blobs and containers, created when a request is sent.

With an account key they are service SAS. Without one they are user delegation SAS; the user
delegation key is requested when it is needed, and again when it expires too early.
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
"""How much the clocks of client and service may differ: Azure's advice for the start of a SAS."""

LONGEST_DELEGATED = timedelta(days=7) - timedelta(hours=1)
"""A user delegation key is valid for up to 7 days; an hour is reserved for clocks and renewal."""

_REUSE = timedelta(minutes=5)
_CACHE_SIZE = 4096


class SasSigner:
    """Creates signed URLs of a Storage account."""

    def __init__(
        self, account: AnyAccount, service: BlobServiceClient, now: Callable[[], datetime]
    ) -> None:
        self._account = account
        self._service = service
        self._now = now
        self._delegated: tuple[datetime, UserDelegationKey] | None = None
        self._lock = asyncio.Lock()
        self._signers: dict[timedelta, UrlSigner] = {}

    @property
    def longest(self) -> timedelta | None:
        """The longest validity of a SAS of this account; ``None``: no limit."""
        return LONGEST_DELEGATED if self._account.blob_key is None else None

    async def for_lifetime(self, lifetime: timedelta) -> UrlSigner:
        """A signer of URLs that are valid for at least ``lifetime`` from now.

        Raises:
            ServiceError: ``sas-too-long`` if the account cannot sign for ``lifetime``; the user
                delegation key is refused.
        """
        now = self._now()
        signer = self._signers.get(lifetime)
        if signer is not None and signer.expiry >= now + lifetime:
            return signer
        # A little longer, so that the requests of the next minutes share it.
        expiry = now + lifetime + _REUSE
        longest = self.longest
        if longest is not None:
            if lifetime > longest:
                raise _too_long(lifetime, longest)
            expiry = min(expiry, now + longest)
        delegated = None
        if self._account.blob_key is None:
            delegated = await self._delegation(expiry)
        signer = UrlSigner(self._account, now - SKEW, expiry, delegated)
        self._signers = {lifetime: signer}
        return signer

    def unsigned(self, url: BlobUrl) -> str:
        """The URL of a request whose URLs have no signatures.

        Raises:
            ValueError: the URL has permissions.
        """
        if url.permissions:
            raise ValueError(f"{url.container} needs a signature, and the request has none")
        return blob_address(self._account.blob_url, url.container, url.blob)

    async def _delegation(self, until: datetime) -> UserDelegationKey:
        async with self._lock:
            if self._delegated is not None and self._delegated[0] >= until:
                return self._delegated[1]
            now = self._now()
            # The key must be valid from the start of each SAS, whose time was read before.
            start, expiry = now - SKEW - _REUSE, now + LONGEST_DELEGATED
            with translated("user delegation key"):
                key = await self._service.get_user_delegation_key(start, expiry)
            self._delegated = (expiry, key)
            return key


class UrlSigner:
    """A function from a BlobUrl to its URL, signed with one start and one expiry."""

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
        self._cache: dict[BlobUrl, str] = {}
        self.expiry = expiry

    def __call__(self, url: BlobUrl) -> str:
        """The URL, with a SAS if ``url`` has permissions."""
        signed = self._cache.get(url)
        if signed is None:
            if len(self._cache) >= _CACHE_SIZE:
                self._cache.clear()
            signed = self._cache[url] = self._sign(url)
        return signed

    def _sign(self, url: BlobUrl) -> str:
        address = blob_address(self._account.blob_url, url.container, url.blob)
        if not url.permissions:
            return address
        key: Secret | None = self._account.blob_key
        # https only, unless the Storage account itself is at an http URL (the emulator).
        plain = urlsplit(self._account.blob_url).scheme == "http"
        options = {
            "account_name": self._account.blob_account,
            "container_name": url.container,
            "account_key": key.reveal() if key else None,
            "user_delegation_key": self._delegated,
            "permission": url.permissions,
            "start": self._start,
            "expiry": self.expiry,
            "protocol": "https,http" if plain else "https",
        }
        if url.blob is None:
            sas = generate_container_sas(**options)  # type: ignore[arg-type]
        else:
            sas = generate_blob_sas(blob_name=url.blob, **options)  # type: ignore[arg-type]
        return f"{address}?{sas}"


def blob_address(root: str, container: str, blob: str | None) -> str:
    """The URL of a container or a blob, with every special character of the names encoded."""
    address = f"{root.rstrip('/')}/{quote(container)}"
    return address if blob is None else f"{address}/{quote(blob, safe='~/')}"


def _too_long(lifetime: timedelta, longest: timedelta) -> ServiceError:
    problem = Diagnostic(
        "sas-too-long",
        f"the nodes need URLs that are valid for {lifetime}, and a SAS without an account key is"
        f" valid for up to {longest}",
        detail="a user delegation key is valid for up to 7 days",
        fix="Use a shorter `max_wall_clock_time`, an earlier `until` of the schedule, or set"
        " AZURE_STORAGE_KEY.",
    )
    return ServiceError(problem, code="sas-too-long")
