"""Certificates of former api-versions: the store, deletion, references of pools."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import NameOID

from batchspec.local.model import CertificateState
from tests.local.engines import pool
from tests.local.running import Answer, Service

VERSION = "2024-02-01.19.0"
_KEY = ec.generate_private_key(ec.SECP256R1())
_NAME = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
CERTIFICATE = (
    x509.CertificateBuilder(_NAME, _NAME, _KEY.public_key(), 1)
    .not_valid_before(datetime(2026, 1, 1, tzinfo=UTC))
    .not_valid_after(datetime(2036, 1, 1, tzinfo=UTC))
    .sign(_KEY, hashes.SHA256())
)
DER = CERTIFICATE.public_bytes(serialization.Encoding.DER)
THUMBPRINT = CERTIFICATE.fingerprint(hashes.SHA1()).hex()
PATH = f"/certificates(thumbprintAlgorithm=sha1,thumbprint={THUMBPRINT})"
PFX = pkcs12.serialize_key_and_certificates(
    b"test", _KEY, CERTIFICATE, None, serialization.BestAvailableEncryption(b"password")
)
CER = {
    "thumbprint": THUMBPRINT,
    "thumbprintAlgorithm": "sha1",
    "data": base64.b64encode(DER).decode(),
    "certificateFormat": "cer",
}
REFERENCES = [{"thumbprint": THUMBPRINT.upper(), "thumbprintAlgorithm": "SHA1"}]


def send(service: Service, method: str, path: str, body: Any = None) -> Answer:
    return service.request(method, path, body, version=VERSION, checked=False)


def let_deletion_end(service: Service) -> None:
    """Let the deletion begin earlier than it did."""
    found = service.store.certificates.get(THUMBPRINT)
    assert found is not None
    earlier = datetime.now(UTC) - timedelta(minutes=1)
    service.store.certificates.set_state(found, CertificateState.DELETING, earlier)


def test_add_get_list_and_delete(service: Service) -> None:
    """As recorded: azure-cli, test_batch_certificate_cmd."""
    made = send(service, "POST", "/certificates", CER)
    assert (made.status, made.body) == (201, b"")
    assert made.headers["location"].endswith(
        f"/certificates(ThumbprintAlgorithm=sha1,Thumbprint={THUMBPRINT})"
    )
    shown = send(service, "GET", PATH).json
    assert shown["thumbprint"] == THUMBPRINT
    assert shown["url"] == f"{service.url}{PATH}"
    assert (shown["state"], shown["publicData"]) == ("active", CER["data"])
    assert "previousState" not in shown
    assert send(service, "GET", "/certificates").json["value"] == [
        {name: value for name, value in shown.items() if not name.startswith("odata.")}
    ]
    again = send(service, "POST", "/certificates", CER)
    assert (again.status, again.code) == (409, "CertificateExists")
    active = send(service, "POST", f"{PATH}/canceldelete")
    assert (active.status, active.code) == (409, "CertificateStateActive")
    assert send(service, "DELETE", PATH).status == 202
    deleting = send(service, "GET", PATH).json
    assert (deleting["state"], deleting["previousState"]) == ("deleting", "active")
    for method, path in (("DELETE", PATH), ("POST", f"{PATH}/canceldelete")):
        refused = send(service, method, path)
        assert (refused.status, refused.code) == (409, "CertificateBeingDeleted")
    let_deletion_end(service)
    gone = send(service, "GET", PATH)
    assert (gone.status, gone.code) == (404, "CertificateNotFound")
    assert send(service, "GET", "/certificates").json["value"] == []


def test_the_certificate_of_a_pfx_file_is_shown_and_its_key_not_stored(service: Service) -> None:
    given = {
        "thumbprint": " ".join([THUMBPRINT[:20], THUMBPRINT[20:]]).upper(),
        "thumbprintAlgorithm": "SHA1",
        "data": base64.b64encode(PFX).decode(),
        "password": "password",
    }
    wrong = send(service, "POST", "/certificates", {**given, "password": "another"})
    assert (wrong.status, wrong.code) == (400, "InvalidPropertyValue")
    assert wrong.values["PropertyName"] == "data"
    assert send(service, "POST", "/certificates", given).status == 201
    assert send(service, "GET", PATH).json["publicData"] == CER["data"]
    database = b"".join(path.read_bytes() for path in service.data.rglob("*.db*"))
    assert given["data"].encode() not in database
    assert PFX not in database


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"thumbprint": "00" * 20}, "thumbprint"),
        ({"thumbprint": ""}, "thumbprint"),
        ({"thumbprintAlgorithm": "md5"}, "thumbprintAlgorithm"),
        ({"data": "%"}, "data"),
        ({"data": ""}, "data"),
        ({"data": "AAAA" * 4096}, "data"),
        ({"certificateFormat": "pem"}, "certificateFormat"),
        ({"password": "x"}, "password"),
    ],
)
def test_invalid_certificates(service: Service, change: dict[str, str], name: str) -> None:
    answer = send(service, "POST", "/certificates", {**CER, **change})
    assert (answer.status, answer.code) == (400, "InvalidPropertyValue")
    assert answer.values["PropertyName"] == name


def test_the_deletion_of_a_used_certificate_fails(service: Service) -> None:
    send(service, "POST", "/certificates", CER)
    body = pool(certificateReferences=REFERENCES)
    assert send(service, "POST", "/pools", body).status == 201
    assert send(service, "GET", "/pools/p").json["certificateReferences"] == REFERENCES
    assert send(service, "DELETE", PATH).status == 202
    let_deletion_end(service)
    failed = send(service, "GET", PATH).json
    assert failed["state"] == "deletefailed"
    error = failed["deleteCertificateError"]
    assert error["code"] == "PoolsReferencingCertificate"
    assert error["values"] == [{"name": "Pools", "value": "p"}]
    cancelled = send(service, "POST", f"{PATH}/canceldelete")
    assert cancelled.status == 204
    active = send(service, "GET", PATH).json
    assert (active["state"], active["previousState"]) == ("active", "deletefailed")
    assert "deleteCertificateError" not in active
    assert send(service, "PATCH", "/pools/p", {"certificateReferences": []}).status == 200
    assert send(service, "DELETE", PATH).status == 202
    let_deletion_end(service)
    assert send(service, "GET", PATH).status == 404


def test_pools_reference_certificates_that_exist(service: Service) -> None:
    refused = send(service, "POST", "/pools", pool(certificateReferences=REFERENCES))
    assert (refused.status, refused.code) == (409, "InvalidCertificateReferences")
    reason = "The specified certificate does not exist."
    assert refused.values == {f"sha1-{THUMBPRINT}": reason}
    settings = {name: value for name, value in pool().items() if name != "id"}
    auto = {
        "poolLifetimeOption": "job",
        "pool": {**settings, "certificateReferences": REFERENCES},
    }
    job = {"id": "j", "poolInfo": {"autoPoolSpecification": auto}}
    assert send(service, "POST", "/jobs", job).status == 201
    error = send(service, "GET", "/jobs/j").json["executionInfo"]["schedulingError"]
    assert error["code"] == "InvalidCertificatesInAutoPool"
    assert error["details"] == [{"name": f"sha1-{THUMBPRINT}", "value": reason}]


def test_the_newest_version_has_no_certificates(service: Service) -> None:
    send(service, "POST", "/certificates", CER)
    for method, path in (("GET", "/certificates"), ("POST", "/certificates"), ("DELETE", PATH)):
        answer = service.request(method, path, CER if method == "POST" else None, checked=False)
        assert (answer.status, answer.code) == (400, "InvalidUri")
