"""What the services refuse, in one table by error code; and the way from an SDK error to ours.

Only ``status_code`` and the service's own code are looked at, never the class of the SDK's error:
with a match condition any failure becomes ResourceModifiedError or ResourceNotFoundError there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from azure.core.exceptions import AzureError, ClientAuthenticationError, HttpResponseError

from batchspec.diagnostics import Diagnostic, ServiceError, redact

_KEYS = "check AZURE_BATCH_ACCESS_KEY / AZURE_STORAGE_KEY and AZURE_BATCH_ACCOUNT, and this clock"
_ROLE = (
    "the identity needs the roles Azure Batch Data Contributor on the Batch account and"
    " Storage Blob Data Contributor on the Storage account; one that was just given takes up to"
    " ten minutes"
)
_SKIP = "a storage emulator: start Azurite with --skipApiVersionCheck"

TABLE: dict[str, tuple[str, str]] = {
    # Who you are.
    "AuthenticationFailed": ("the service does not accept the key or the signature", _KEYS),
    "InvalidAuthenticationInfo": ("the service does not accept the credentials", _KEYS),
    "NoAuthenticationInformation": ("the service wants credentials", _KEYS),
    "AuthorizationFailure": (
        "the account refuses: its firewall, a wrong key, or an expired SAS",
        f"see in its network settings whether this machine may reach it; {_KEYS}",
    ),
    "AuthorizationPermissionMismatch": ("the identity may not do this in the account", _ROLE),
    "AuthorizationProtocolMismatch": ("the SAS is for https only", "use an https address"),
    "AuthorizationSourceIPMismatch": ("the SAS is not for this network address", ""),
    "KeyBasedAuthenticationNotPermitted": (
        "the storage account does not allow keys",
        "unset AZURE_STORAGE_KEY and AZURE_STORAGE_CONNECTION_STRING, and sign in: az login",
    ),
    "InsufficientAccountPermissions": ("the identity may not do this in the account", _ROLE),
    "Forbidden": ("the identity may not do this in the account", _ROLE),
    "AccountIsDisabled": ("the account is disabled", "see the subscription in the Azure portal"),
    # How much you may have.
    "AccountCoreQuotaReached": (
        "the account has no cores left for this pool",
        "ask for fewer nodes or a smaller vm_size, delete other pools, or raise the quota",
    ),
    "PoolQuotaReached": (
        "the account has as many pools as it may have",
        "delete a pool (batchspec list --orphans), or raise the quota",
    ),
    "ActiveJobAndScheduleQuotaReached": (
        "the account has as many active jobs and schedules as it may have",
        "end or delete a job, or raise the quota",
    ),
    "ServerBusy": ("the service is busy", "try again in a few minutes"),
    "TooManyRequests": ("the service is busy", "try again in a few minutes"),
    "TooManyEnableAutoScaleRequests": (
        "autoscale was changed less than 30 seconds ago",
        "try again in a minute",
    ),
    "OperationTimedOut": ("the service did not finish in time", "try again"),
    "InternalError": ("the service failed", "try again; if it stays, report the request id"),
    # What you asked for.
    "InvalidPropertyValue": ("a property has a value that the service does not take", ""),
    "MissingRequiredProperty": ("a property is missing", ""),
    "UnsupportedProperty": (
        "a property does not fit here",
        "tasks with dependencies need uses_task_dependencies on their job",
    ),
    "TaskDependenciesNotSpecifiedOnJob": (
        "tasks depend on each other, and the job does not allow it",
        "set uses_task_dependencies on the job",
    ),
    "InvalidRequestBody": ("the service does not understand the request", ""),
    "InvalidApplicationPackageReferences": ("an application package is not in the account", ""),
    "InvalidAutoScalingSettings": ("the autoscale formula is not right", ""),
    "AutoScalingFormulaSyntaxError": ("the autoscale formula is not right", ""),
    "RequestBodyTooLarge": ("the request is too large", "shorten the task"),
    "RequestEntityTooLarge": ("the request is too large", "fewer resource files for one task"),
    "MetadataTooLarge": ("the metadata is too large", ""),
    "InvalidResourceName": ("the name is not one that storage takes", ""),
    "OutOfRangeInput": ("a value or a name is too long or too short", ""),
    "InvalidHeaderValue": ("the service does not take a header of the request", _SKIP),
    "UnsupportedRequestVersion": ("the service does not know this version of the protocol", ""),
    # What is there already, or no more.
    "PoolExists": ("a pool of that id is there already", ""),
    "JobExists": ("a job of that id is there already", ""),
    "JobScheduleExists": ("a job schedule of that id is there already", ""),
    "JobWithSameIdExists": (
        "a job of that id is there, and jobs and schedules share their ids",
        "give the schedule another id, or delete that job",
    ),
    "JobScheduleWithSameIdExists": (
        "a job schedule of that id is there, and jobs and schedules share their ids",
        "give the job another id, or delete that schedule",
    ),
    "PoolBeingDeleted": ("the pool is being deleted", "wait until it is gone, and run again"),
    "PoolBeingResized": ("the pool is being resized", "wait until it is steady, and run again"),
    "PoolNotFound": ("there is no such pool", ""),
    "JobNotFound": ("there is no such job", ""),
    "TaskNotFound": ("there is no such task", ""),
    "JobBeingDeleted": ("the job is being deleted", "wait until it is gone, and run again"),
    "JobBeingTerminated": ("the job is ending and takes no more tasks", "wait, and run again"),
    "JobCompleted": ("the job has ended and takes no more tasks", "run again: it plans a new job"),
    "JobScheduleNotFound": ("there is no such job schedule", ""),
    "JobScheduleBeingDeleted": (
        "the job schedule is being deleted",
        "wait until it is gone, and run again",
    ),
    "JobScheduleBeingTerminated": ("the job schedule is ending", "run again: it is made anew"),
    "JobScheduleCompleted": ("the job schedule has ended", "run again: it is made anew"),
    "JobDisabled": ("the job is disabled", "enable it"),
    "ContainerBeingDeleted": ("the container is being deleted", "try again in a minute"),
    "ContainerNotFound": ("there is no such container", ""),
    "BlobNotFound": ("there is no such blob", ""),
    "ConditionNotMet": ("it was changed by somebody else meanwhile", "run again"),
    "LeaseIdMissing": ("somebody holds a lease on it", "release the lease"),
    "Md5Mismatch": ("the data were changed on the way", "try again"),
}
"""Service error code → summary and hint."""

_BY_STATUS = {
    401: "AuthenticationFailed",
    403: "Forbidden",
    413: "RequestBodyTooLarge",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServerBusy",
}
"""What a reply without a code means (HEAD replies have no body; gateways send their own)."""

# The service's detail of a failed authentication quotes the signature it was sent.
_UNSAID = frozenset({"AuthenticationErrorDetail"})


_THIS_MACHINE = frozenset({"127.0.0.1", "localhost", "::1"})


@dataclass(frozen=True, slots=True)
class Fault:
    """What a service said: its code, the HTTP status, its message, its details, its request id."""

    code: str
    status: int
    message: str
    values: tuple[tuple[str, str], ...] = ()
    request_id: str = ""


def fault(error: HttpResponseError) -> Fault:
    """Read an SDK error of Batch or of Storage."""
    status = error.status_code or 0
    body = error.error
    code = getattr(error, "error_code", None) or getattr(body, "code", None)
    code = str(getattr(code, "value", code) or "")
    headers = getattr(error.response, "headers", {}) or {}
    code = code or headers.get("x-ms-error-code", "") or _BY_STATUS.get(status, f"HTTP{status}")
    message = str(getattr(body, "message", None) or error.message or "")
    details = getattr(body, "details", None) or ()
    return Fault(
        code=code,
        status=status,
        message=_first_part(message),
        values=tuple((str(d.code), str(d.message)) for d in details),
        request_id=headers.get("request-id") or headers.get("x-ms-request-id") or "",
    )


def problem_of(found: Fault, subject: str) -> Diagnostic:
    """Put a fault into a problem; ``subject`` says what it is about (``pool topn``)."""
    summary, fix = TABLE.get(found.code, (found.message or found.code, ""))
    said = [] if summary == found.message else [found.message]
    said += [f"{key}: {value}" for key, value in found.values if key not in _UNSAID]
    return Diagnostic(
        kebab(found.code),
        redact(f"{subject}: {summary}" if subject else summary),
        detail=redact("\n".join(line for line in said if line)),
        fix=fix,
        request_id=found.request_id,
    )


def translate(error: AzureError, subject: str) -> ServiceError:
    """The ServiceError that an SDK error stands for."""
    if isinstance(error, HttpResponseError) and error.response is not None:
        found = fault(error)
        return ServiceError(problem_of(found, subject), code=found.code, status=found.status)
    if isinstance(error, ClientAuthenticationError):
        return no_credential(error)
    # What the transport could not bring to an end is translated where the address is known
    # (pipeline.py); what is left is an answer that makes no sense.
    problem = Diagnostic(
        "bad-answer",
        f"{subject}: the service's answer makes no sense",
        detail=redact(_first_part(str(error))),
    )
    return ServiceError(problem, code="bad-answer")


def no_credential(error: ClientAuthenticationError) -> ServiceError:
    """Nobody is signed in, or the sign-in was refused."""
    problem = Diagnostic(
        "no-credential",
        "there is no key, and signing in did not work",
        detail=redact(str(error.message or error).strip()),
        fix="run `az login`, or set AZURE_BATCH_ACCESS_KEY and AZURE_STORAGE_KEY",
    )
    return ServiceError(problem, code="no-credential")


def unreachable(url: str, error: BaseException, waited: float) -> ServiceError:
    """A service gave no answer; ``waited`` is how long it was tried, in seconds."""
    parts = urlsplit(url)
    address = f"{parts.scheme}://{parts.netloc}"
    # What the transport says of its own settings is no news to a user.
    why = re.sub(r" ssl:\w+(?= \[)", "", _first_part(str(error)))
    problem = Diagnostic(
        "unreachable",
        f"{address} does not answer",
        detail=redact(f"tried for {waited:.0f} s: {why}"),
        fix="see `batchspec local status`"
        if parts.hostname in _THIS_MACHINE
        else "check the address, and the network: a firewall, a proxy, a VPN",
    )
    return ServiceError(problem, code="unreachable")


@contextmanager
def translated(subject: str) -> Iterator[None]:
    """Whatever the SDK raises inside comes out as a ServiceError about ``subject``.

    The SDK's error is left out of the chain: its text may quote signatures.
    """
    try:
        yield
    except AzureError as error:
        raise translate(error, subject) from None


def kebab(code: str) -> str:
    """``PoolQuotaReached`` as ``pool-quota-reached``: the form of our own codes."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", code).lower()


def _first_part(message: str) -> str:
    """A message without the request id and the time that the services append."""
    return re.split(r"\s*\n\s*(?:RequestId|Time|Code|ErrorCode)\s*:", message, maxsplit=1)[
        0
    ].strip()
