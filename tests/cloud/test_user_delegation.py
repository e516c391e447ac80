"""Sign-in instead of keys: user delegation SAS on a real blob store with https.

The store accepts any unsigned token with the right issuer, audience and time; the certificate is
created here. All other code also runs against Azure.
"""

from __future__ import annotations

import asyncio
import base64
import datetime as dt
import ipaddress
import json
import os
import re
import secrets
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import aiohttp
import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from yarl import URL

from batchspec.apply.events import Waiting
from batchspec.cloud import AccountClient, AzureAccount, Limits, connect, open_account
from batchspec.diagnostics import ServiceError
from batchspec.local.azurite import find_nodejs
from batchspec.local.settings import Settings
from batchspec.spec import BlobUrl
from tests.cloud.conftest import KEY, Time

_LISTENING = r"listens on (https://\S+)"


def certificate(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    here = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(here, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = folder / "cert.pem", folder / "key.pem"
    paths[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
    )
    return paths


@dataclass
class SignIn:
    """A credential that the storage emulator accepts."""

    asked: int = 0
    refused: bool = False
    failures: int = 0
    """How many of the next sign-ins fail."""
    lifetime: int = 3600
    """In seconds. A token of less than five minutes is used for one request."""

    async def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        self.asked += 1
        if self.refused or self.failures:
            self.failures -= 1
            raise ClientAuthenticationError("DefaultAzureCredential failed: run az login")
        now = int(datetime.now(UTC).timestamp())
        claims = {
            "iss": "https://sts.windows.net/ab1f708d-50f6-404c-a006-d71b2ac7a606/",
            "aud": "https://storage.azure.com",
            "iat": now - 60,
            "nbf": now - 60,
            "exp": now + self.lifetime,
            "oid": "23657296-5cd5-45b0-a809-d972a7f4dfe1",
            "tid": "dd0d0df1-06c3-436c-8034-4b9a153097ce",
        }
        parts = [{"alg": "none", "typ": "JWT"}, claims]
        token = ".".join(
            base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")
            for part in parts
        )
        return AccessToken(f"{token}.c2ln", now + self.lifetime)

    async def close(self) -> None:
        return None

    async def __aenter__(self) -> SignIn:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None


@dataclass(frozen=True)
class Store:
    """A blob store at an https address, and the certificate to trust."""

    url: str
    ca: Path


@pytest.fixture(scope="module")
def secure_store(
    azurite_installed: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Store]:
    folder = tmp_path_factory.mktemp("https")
    cert, key = certificate(folder)
    entry = azurite_installed / "node_modules/azurite/dist/src/blob/main.js"
    secret = base64.b64encode(secrets.token_bytes(64)).decode()
    process = subprocess.Popen(
        [
            os.fspath(find_nodejs(Settings.read(os.environ)).executable),
            os.fspath(entry),
            *("--blobHost", "127.0.0.1", "--blobPort", "0", "--inMemoryPersistence", "--silent"),
            *("--disableTelemetry", "--skipApiVersionCheck", "--disableProductStyleUrl"),
            *("--oauth", "basic", "--cert", os.fspath(cert), "--key", os.fspath(key)),
        ],
        env={**os.environ, "AZURITE_ACCOUNTS": f"signedin:{secret}"},
        stdout=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        found = next(filter(None, (re.search(_LISTENING, line) for line in process.stdout)), None)
        assert found is not None, "Azurite ended before it listened"
        yield Store(f"{found[1].rstrip('/')}/signedin", cert)
    finally:
        # All data is in memory: the process needs no time to end.
        process.kill()
        process.wait()


@pytest.fixture
def who() -> SignIn:
    return SignIn()


def account(store: Store) -> AzureAccount:
    return AzureAccount("http://127.0.0.1:9", "acct", KEY, store.url, "signedin", None)


@pytest.fixture
async def signed_in(secure_store: Store, who: SignIn) -> AsyncIterator[AccountClient]:
    async with open_account(
        account(secure_store), credential=lambda: who, ca_file=secure_store.ca
    ) as cloud:
        yield cloud


async def test_urls_are_signed_with_a_user_delegation_key(
    signed_in: AccountClient, secure_store: Store
) -> None:
    assert signed_in.longest_sas is not None
    await signed_in.containers.create("output", {}, None)
    signer = await signed_in.connection.signer.for_lifetime(timedelta(hours=1))
    address = URL(signer(BlobUrl("output", None, "cw")), encoded=True)
    assert address.query["skoid"] == "23657296-5cd5-45b0-a809-d972a7f4dfe1"
    assert address.query["spr"] == "https"
    trust = ssl.create_default_context(cafile=os.fspath(secure_store.ca))
    put = {"x-ms-blob-type": "BlockBlob"}
    async with aiohttp.ClientSession() as session:

        async def status(method: str, url: URL) -> int:
            async with session.request(method, url, data=b"x", headers=put, ssl=trust) as answer:
                return answer.status

        target = URL(str(address).replace("/output?", "/output/a%20b?"), encoded=True)
        assert await status("PUT", target) == 201
        assert await status("GET", target) == 403
    assert [blob.name async for blob in signed_in.blobs.list("output")] == ["a b"]


async def test_signers_share_one_key(signed_in: AccountClient, who: SignIn) -> None:
    signer = signed_in.connection.signer
    hours = [timedelta(hours=hour) for hour in range(1, 20)]
    signers = await asyncio.gather(*(signer.for_lifetime(hour) for hour in hours))
    queries = [URL(signer(BlobUrl("c", None, "r"))).query for signer in signers]
    (start,) = {query["skt"] for query in queries}
    assert all(start < query["st"] for query in queries)
    assert all(query["se"] <= query["ske"] for query in queries)


async def test_the_key_is_renewed_before_it_is_too_short(secure_store: Store) -> None:
    now, passed = datetime.now(UTC), 0.0
    async with open_account(
        account(secure_store), credential=SignIn, ca_file=secure_store.ca, monotonic=lambda: passed
    ) as cloud:
        first = (await cloud.connection.signer.for_lifetime(timedelta(days=1)))(
            BlobUrl("c", None, "r")
        )
        passed += timedelta(days=6).total_seconds()
        now += timedelta(days=6)
        late = await cloud.connection.signer.for_lifetime(timedelta(days=1))
        second = late(BlobUrl("c", None, "r"))
    assert URL(first).query["ske"] < URL(second).query["ske"]
    end = datetime.fromisoformat(URL(second).query["se"])
    assert now + timedelta(days=1) - timedelta(seconds=1) <= end
    assert end <= datetime.fromisoformat(URL(second).query["ske"])


async def test_a_sas_is_valid_for_seven_days_at_most(signed_in: AccountClient) -> None:
    longest = signed_in.longest_sas
    assert longest is not None
    signer = await signed_in.connection.signer.for_lifetime(longest)
    signer(BlobUrl("c", None, "r"))
    with pytest.raises(ServiceError) as caught:
        await signed_in.connection.signer.for_lifetime(timedelta(days=7))
    assert caught.value.code == "sas-too-long"
    assert "AZURE_STORAGE_KEY" in caught.value.problems[0].fix


async def test_the_probe_requests_a_user_delegation_key(
    signed_in: AccountClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def now() -> datetime:
        return datetime.now(UTC)

    assert (await connect.probe_signing(signed_in, now)).problem is None

    async def refuse(*_: object) -> None:
        raise HttpResponseError("refused", response=_Refused())  # type: ignore[arg-type]

    monkeypatch.setattr(signed_in.service, "get_user_delegation_key", refuse)
    signed_in.connection.signer._delegated = None
    signed_in.connection.signer._signers.clear()
    problem = (await connect.probe_signing(signed_in, now)).problem
    assert problem is not None
    assert problem.code == "authorization-permission-mismatch"
    assert "'Storage Blob Data Contributor' on the Storage account" in " ".join(problem.fix.split())


class _Refused:
    """The response to an identity without a role on the Storage account."""

    status_code = 403
    reason = "refused"
    headers: ClassVar = {"x-ms-error-code": "AuthorizationPermissionMismatch"}

    def text(self, *_: object) -> str:
        return ""


async def test_authentication_fails(signed_in: AccountClient, who: SignIn) -> None:
    who.refused = True
    with pytest.raises(ServiceError) as caught:
        await signed_in.containers.get_metadata("data")
    assert caught.value.code == "no-credential"
    assert "az login" in caught.value.problems[0].fix
    assert who.asked == 1


async def test_a_sign_in_that_fails_during_a_run_is_repeated(
    secure_store: Store, clock: Time, notices: list[Waiting]
) -> None:
    """The Azure CLI can time out when a token is renewed (azure-cli#20404)."""
    who = SignIn(lifetime=200)
    async with open_account(
        account(secure_store),
        credential=lambda: who,
        ca_file=secure_store.ca,
        monotonic=clock.monotonic,
        sleep=clock.sleep,
        notice=notices.append,
    ) as cloud:
        assert await cloud.containers.get_metadata("none") is None
        assert clock.slept == []
        for call in (cloud.containers.get_metadata("none"), anext(cloud.blobs.list("none"), None)):
            who.failures = 6
            assert await call is None
            assert who.failures == 0
        began, who.refused = clock.seconds, True
        with pytest.raises(ServiceError) as caught:
            await cloud.containers.get_metadata("none")
    assert caught.value.code == "no-credential"
    assert 240 < clock.seconds - began <= 300
    first, second = notices[:2]
    assert (first.code, first.resolved) == ("sign-in-failing", False)
    assert "az login" in first.action
    assert second == Waiting(first.code, first.subject, resolved=True)


async def test_an_untrusted_certificate(secure_store: Store, clock: Time) -> None:
    async with open_account(
        account(secure_store),
        credential=SignIn,
        limits=Limits(),
        monotonic=clock.monotonic,
        sleep=clock.sleep,
    ) as cloud:
        with pytest.raises(ServiceError) as caught:
            await cloud.containers.get_metadata("data")
    assert caught.value.code == "unreachable"
    assert "certificate" in caught.value.problems[0].detail.lower()
    assert clock.slept == []
