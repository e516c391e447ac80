"""The import of the SDKs: garbage collection is paused, and certificates are loaded later."""

from __future__ import annotations

import gc
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from batchspec.cloud.client import _certificates_later, _collector_paused


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    yield
    gc.unfreeze()
    gc.enable()


def test_garbage_collection_is_paused_and_continued() -> None:
    with _collector_paused():
        assert not gc.isenabled()
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0


def test_imported_objects_are_in_the_oldest_generation() -> None:
    with _collector_paused():
        kept: list[list[int]] = [[] for _ in range(10_000)]
    assert gc.get_count()[0] < len(kept)
    assert any(each is kept for each in gc.get_objects(generation=2))


def test_disabled_garbage_collection_stays_disabled() -> None:
    gc.disable()
    gc.freeze()
    frozen = gc.get_freeze_count()
    with _collector_paused():
        pass
    assert not gc.isenabled()
    assert gc.get_freeze_count() == frozen


def test_garbage_collection_continues_after_a_failed_import() -> None:
    with pytest.raises(ImportError), _collector_paused():
        raise ImportError
    assert gc.isenabled()


def certificate(folder: Path) -> Path:
    """A file with a new certificate for ``localhost`` that signs itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), False)
        .add_extension(x509.BasicConstraints(True, None), True)
        .sign(key, SHA256())
    )
    path = folder / "localhost.pem"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(signed.public_bytes(Encoding.PEM) + private)
    return path


def connect(client: ssl.SSLContext, served: Path) -> None:
    """Connect a client to a server with this certificate, in memory.

    Raises:
        SSLError: the client does not trust the certificate.
    """
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(served)
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server, server_hostname="localhost"),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    while ends:
        for end in tuple(ends):
            try:
                end.do_handshake()
                ends.remove(end)
            except ssl.SSLWantReadError:
                continue


def test_a_context_of_an_import_trusts_the_authorities_of_the_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(served))
    with _certificates_later():
        context, unverified = ssl.create_default_context(), ssl._create_unverified_context()
    assert context.cert_store_stats()["x509"] == 0, "nothing is loaded during the import"
    for _ in range(2):
        connect(context, served)
    connect(unverified, served)
    assert type(context) is ssl.SSLContext


def test_a_context_of_an_import_trusts_no_other_certificate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other").mkdir()
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate(tmp_path / "other")))
    with _certificates_later():
        context = ssl.create_default_context()
    with pytest.raises(ssl.SSLCertVerificationError):
        connect(context, certificate(tmp_path))


def test_contexts_that_are_created_later_load_the_authorities_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate(tmp_path)))
    with pytest.raises(ImportError), _certificates_later():
        raise ImportError
    assert ssl.create_default_context().cert_store_stats()["x509"] == 1
