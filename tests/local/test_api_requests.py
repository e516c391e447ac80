"""Authentication, versions, malformed requests and errors of the HTTP side."""

from __future__ import annotations

import base64
import socket
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from azure.batch import BatchClient
from azure.core.credentials import AzureNamedKeyCredential
from azure.core.exceptions import HttpResponseError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batchspec.local.api import ROUTES
from batchspec.local.http import NotLoopbackError, listen
from tests.local.running import Service

OTHER_KEY = base64.b64encode(b"another key").decode()
JOB: dict[str, Any] = {"id": "j", "poolInfo": {"poolId": "p"}}


def test_a_request_with_a_wrong_key_has_no_effect(service: Service) -> None:
    answer = service.request("POST", "/jobs", JOB, key=OTHER_KEY)
    assert (answer.status, answer.code) == (403, "AuthenticationFailed")
    assert "AuthenticationErrorDetail" in answer.values
    message = answer.json["message"]["value"]
    assert message.startswith("Server failed to authenticate the request.")
    assert service.key not in answer.body.decode()
    with BatchClient(service.url, AzureNamedKeyCredential(service.account, OTHER_KEY)) as client:
        with pytest.raises(HttpResponseError) as error:
            client.create_job(JOB)
        assert error.value.error.code == "AuthenticationFailed"
    assert list(service.client.list_jobs()) == []


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": ""},
        {"authorization": "SharedKey testaccount:AAAA"},
        {"authorization": "Bearer x"},
        {"ocp-date": "Sun, 22 Nov 2020 14:12:28 GMT"},
        {"ocp-date": "soon"},
    ],
)
def test_missing_and_expired_signatures_are_rejected(
    service: Service, headers: dict[str, str]
) -> None:
    if "authorization" in headers:
        sent = raw(service, b"GET /jobs?api-version=2025-06-01 HTTP/1.1", headers)
        assert sent.startswith(b"HTTP/1.1 403 ")
    else:
        assert service.request("GET", "/jobs", headers=headers).status == 403


def test_the_body_of_an_unsigned_request_is_not_read(service: Service) -> None:
    head = b"POST /jobs?api-version=2025-06-01 HTTP/1.1"
    assert raw(service, head, {"content-length": "1000000"}).startswith(b"HTTP/1.1 403 ")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/", 400, "InvalidUri"),
        ("GET", "/poolz", 400, "InvalidUri"),
        ("GET", "/jobs/j/tasks/t/files/x/../../../..", 404, "JobNotFound"),
        ("DELETE", "/jobs", 405, "UnsupportedHttpVerb"),
        ("GET", "/jobs//tasks", 400, "InvalidUri"),
        ("GET", "/jobs/%FF", 400, "InvalidUri"),
        ("GET", "/jobs/" + "x" * 5000, 404, "JobNotFound"),
    ],
)
def test_unknown_paths_and_methods(
    service: Service, method: str, path: str, status: int, code: str
) -> None:
    answer = service.request(method, path, checked=False)
    assert (answer.status, answer.code) == (status, code)


@pytest.mark.parametrize("version", ["2025-06-01", "2024-02-01.19.0", "2022-10-01.16.0"])
def test_supported_api_versions(service: Service, version: str) -> None:
    assert service.request("GET", "/jobs", version=version).status == 200


@pytest.mark.parametrize(
    ("version", "code"),
    [
        (None, "MissingRequiredQueryParameter"),
        ("", "MissingRequiredQueryParameter"),
        ("2015-12-01.2.2", "InvalidQueryParameterValue"),
        ("x", "InvalidQueryParameterValue"),
    ],
)
def test_unsupported_api_versions(service: Service, version: str | None, code: str) -> None:
    answer = service.request("GET", "/jobs", version=version)
    assert (answer.status, answer.code) == (400, code)


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[1]", b"null", b"\xff", b'{"id": NaN}', b"[" * 5000, b'"x"']
)
def test_a_body_that_is_not_a_json_object(service: Service, body: bytes) -> None:
    answer = service.request("POST", "/jobs", body)
    assert (answer.status, answer.code) == (400, "InvalidRequestBody")
    assert answer.json["message"]["lang"] == "en-US"


def test_an_unknown_property_is_rejected_with_the_recorded_message(service: Service) -> None:
    body = {"applicationPackageReferences": [{"application_id": "x"}]}
    answer = service.request("PATCH", "/pools/p", body)
    assert (answer.status, answer.code) == (400, "InvalidRequestBody")
    assert answer.values["Reason"] == (  # as recorded
        "The property 'application_id' does not exist on type 'Microsoft.Azure.Batch.Protocol."
        "Entities.ApplicationPackageReference'. Make sure to only use property names that are "
        "defined by the type."
    )


def test_an_error_contains_the_request_id_and_the_time(service: Service) -> None:
    answer = service.request("GET", "/jobs/j")
    assert answer.headers["content-type"] == "application/json;odata=minimalmetadata"
    sentence, request, time = answer.json["message"]["value"].split("\n")
    assert sentence == "The specified job does not exist."
    assert request == f"RequestId:{answer.headers['request-id']}"
    assert len(time) == len("Time:2017-07-30T05:31:27.6605959Z")
    assert next(iter(answer.json)) == "odata.metadata"
    assert "values" not in answer.json


def test_the_client_request_id_is_returned_only_on_request(service: Service) -> None:
    plain = service.request("GET", "/jobs", headers={"client-request-id": "a-b"})
    assert "client-request-id" not in plain.headers
    asked = {"client-request-id": "a-b", "return-client-request-id": "true"}
    assert service.request("GET", "/jobs", headers=asked).headers["client-request-id"] == "a-b"


@pytest.mark.parametrize(
    "route", [r for r in ROUTES if r.handler is None], ids=lambda r: r.operation
)
def test_an_unsupported_operation_answers_501_with_its_name(service: Service, route: Any) -> None:
    path = "/".join("x" if part.startswith("{") else part for part in route.path.split("/"))
    answer = service.request(route.method, path)
    assert answer.status == 501
    if route.method != "HEAD":
        assert answer.code == "NotImplemented"
        assert route.operation in answer.values["Reason"]


def test_the_service_listens_only_on_loopback() -> None:
    for host in ("0.0.0.0", "::", "192.0.2.1"):
        with pytest.raises(NotLoopbackError):
            listen(host=host)


def test_malformed_http_is_answered_and_the_service_continues(service: Service) -> None:
    for garbage in (b"\x16\x03\x01\x02\x00", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"):
        raw(service, garbage, {})
    huge = b"GET /jobs?api-version=2025-06-01&x=" + b"a" * 200_000 + b" HTTP/1.1"
    assert raw(service, huge, {}).startswith(b"HTTP/1.1 4")
    assert service.request("GET", "/jobs").status == 200


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=6,
)
names = st.sampled_from(
    ["id", "commandLine", "constraints", "requiredSlots", "resourceFiles", "dependsOn", "value"]
)


@given(
    body=st.dictionaries(names, values, max_size=7),
    path=st.sampled_from(["tasks", "addtaskcollection"]),
)
@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_any_json_body_gets_a_valid_reply(
    service: Service, body: dict[str, Any], path: str
) -> None:
    if not list(service.client.list_jobs(select=["id"])):
        service.request("POST", "/jobs", JOB)
    answer = service.request("POST", f"/jobs/j/{path}", body, checked=False)
    assert answer.status in (200, 201, 400, 409, 501)


@given(
    query=st.text(
        st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="#"), max_size=40
    )
)
@settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_any_filter_gets_a_valid_reply(service: Service, query: str) -> None:
    answer = service.request("GET", "/pools", query=f"$filter={quote(query)}", checked=False)
    assert answer.status in (200, 400)


def raw(service: Service, head: bytes, headers: dict[str, str]) -> bytes:
    """Send raw bytes and return the first bytes of the reply."""
    parts = urlsplit(service.url)
    lines = [head, b"host: x", *(f"{name}: {value}".encode() for name, value in headers.items())]
    with socket.create_connection((str(parts.hostname), parts.port), timeout=10) as connection:
        connection.sendall(b"\r\n".join(lines) + b"\r\n\r\n")
        return connection.recv(4096)
