"""Translates the errors of the services to diagnostics, with one table by error code.

Only the HTTP status and the error code of the service count, never the class of the SDK's error:
with a match condition, the SDK makes every failure a ResourceModifiedError or a
ResourceNotFoundError.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from urllib.parse import urlsplit

from azure.core.exceptions import AzureError, ClientAuthenticationError, HttpResponseError

from batchspec.cloud.account import is_loopback
from batchspec.diagnostics import Diagnostic, ServiceError, redact
from batchspec.frozen import frozen
from batchspec.plan.failures import RESIZE_FIX

_KEYS = (
    "Check AZURE_BATCH_ACCOUNT, AZURE_BATCH_ACCESS_KEY and AZURE_STORAGE_KEY, and that the clock of"
    " this machine is right"
)
_ROLE = (
    "Assign the roles 'Azure Batch Data Contributor' on the Batch account and 'Storage Blob Data"
    " Contributor' on the Storage account to your identity; a new assignment takes up to 10 minutes"
)
_OWN_RESOURCES = (
    "Subnets, images and other resources of your subscription require Microsoft Entra ID: unset"
    " AZURE_BATCH_ACCESS_KEY, run `az login`, and check that your identity can use the resource"
)
_SUBSCRIPTION = (
    "Set AZURE_SUBSCRIPTION_ID and AZURE_RESOURCE_GROUP to those of the account: `az batch account"
    " list --output table`, `az account show`"
)
_EMULATOR = "For a storage emulator, start Azurite with --skipApiVersionCheck"
_BUSY = "Run the command again in a few minutes"
_AGAIN = "Run the command again"
_LIST = "`batchspec list` shows whether it still exists; then run the command again"
_PROPERTY = "Correct the property in the spec; then run the command again"
_PLAN = "Run `batchspec plan` to see what differs"

TABLE: dict[str, tuple[str, str]] = {
    # Authentication and authorization.
    "AuthenticationFailed": ("the service does not accept the key or the signature", _KEYS),
    "InvalidAuthenticationInfo": ("the service does not accept the credentials", _KEYS),
    "NoAuthenticationInformation": ("the service requires credentials", _KEYS),
    "AuthorizationFailure": (
        "access is denied by the firewall of the account, because of a wrong key, or because the"
        " SAS has expired",
        f"Check in the network settings of the account that this machine has access. {_KEYS}."
        f" Without keys: {_ROLE}",
    ),
    "AuthorizationPermissionMismatch": ("your identity lacks the permission", _ROLE),
    "AuthorizationProtocolMismatch": ("the SAS is valid for https only", "Use an https URL"),
    "AuthorizationSourceIPMismatch": (
        "the SAS is not valid for this IP address",
        "Create a SAS without an IP range, or with the address of this machine",
    ),
    "KeyBasedAuthenticationNotPermitted": (
        "the Storage account does not allow account keys",
        "Unset AZURE_STORAGE_KEY and AZURE_STORAGE_CONNECTION_STRING, and run `az login`",
    ),
    "AuthorizationFailed": ("your identity lacks the permission", _ROLE),
    "LinkedAuthorizationFailed": (
        "your identity is not allowed to use a managed identity, a subnet or an image of the pool",
        "Check the ids in the spec, and assign a role on the resource to your identity: 'Managed"
        " Identity Operator', 'Network Contributor' or 'Reader'",
    ),
    "MissingSubscriptionRegistration": (
        "the subscription is not registered for Azure Batch",
        "Run `az provider register --namespace Microsoft.Batch --wait`, which needs the role"
        " 'Contributor' on the subscription",
    ),
    "InvalidSubscriptionId": ("the subscription id is not valid", _SUBSCRIPTION),
    "SubscriptionNotFound": ("the subscription is not found", _SUBSCRIPTION),
    "ResourceGroupNotFound": ("the resource group does not exist", _SUBSCRIPTION),
    "ResourceNotFound": ("the account is not in this resource group", _SUBSCRIPTION),
    "InvalidAuthenticationTokenTenant": (
        "you are signed in to another tenant, not to that of the subscription",
        "Run `az login --tenant TENANT` with the tenant of AZURE_SUBSCRIPTION_ID",
    ),
    "InsufficientAccountPermissions": ("your identity lacks the permission", _ROLE),
    "Forbidden": ("your identity lacks the permission", _ROLE),
    "AccountIsDisabled": (
        "the account is disabled",
        "Check the state of the subscription in the Azure portal",
    ),
    # Quotas and availability.
    "AccountCoreQuotaReached": (
        "the account's quota of dedicated cores is reached",
        RESIZE_FIX["AccountCoreQuotaReached"].removesuffix("."),
    ),
    "AccountLowPriorityCoreQuotaReached": (
        "the account's quota of Spot cores is reached",
        RESIZE_FIX["AccountLowPriorityCoreQuotaReached"].removesuffix("."),
    ),
    "AccountSpotCoreQuotaReached": (
        "the account's quota of Spot cores is reached",
        RESIZE_FIX["AccountSpotCoreQuotaReached"].removesuffix("."),
    ),
    "AccountVMSeriesCoreQuotaReached": (
        "the account's quota of dedicated cores of this VM family is reached",
        RESIZE_FIX["AccountVMSeriesCoreQuotaReached"].removesuffix("."),
    ),
    "PoolQuotaReached": (
        "the pool quota of the account is reached",
        "Delete a pool that is not used (`batchspec list --orphans`), or request a higher quota",
    ),
    "ActiveJobAndScheduleQuotaReached": (
        "the quota of active jobs and job schedules of the account is reached",
        "Terminate or delete a job (`batchspec list`), or request a higher quota",
    ),
    "ServerBusy": ("the service is busy", _BUSY),
    "TooManyRequests": ("the service is busy", _BUSY),
    "TooManyEnableAutoScaleRequests": (
        "automatic scaling was changed less than 30 seconds ago",
        "Run the command again in a minute",
    ),
    "OperationTimedOut": ("the service did not complete the operation in time", _AGAIN),
    "InternalError": (
        "the service failed",
        "Run the command again; if it fails again, report the request id to Azure support",
    ),
    # Invalid requests.
    "InvalidPropertyValue": ("the service does not accept the value of a property", _PROPERTY),
    "MissingRequiredProperty": ("a required property is missing", _PROPERTY),
    "UnsupportedProperty": (
        "a property is not supported in this combination",
        "Set `uses_task_dependencies` on the job if its tasks have dependencies",
    ),
    "TaskDependenciesNotSpecifiedOnJob": (
        "the job does not allow task dependencies",
        "Set `uses_task_dependencies` on the job",
    ),
    "InvalidRequestBody": ("the service cannot read the request", ""),
    "InvalidApplicationPackageReferences": (
        "an application package does not exist in the account",
        "`az batch application list` shows the application packages",
    ),
    "InvalidAutoScalingSettings": ("the settings of automatic scaling are invalid", ""),
    "AutoScalingFormulaSyntaxError": ("the autoscale formula has a syntax error", ""),
    "RequestBodyTooLarge": (
        "the request is too large",
        "Shorten the command line, the environment or the resource files of the task",
    ),
    "RequestEntityTooLarge": ("the request is too large", "Use fewer resource files in the task"),
    "MetadataTooLarge": ("the metadata is too large", "Use shorter metadata"),
    "InvalidResourceName": (
        "the name is not valid in Azure Storage",
        "Name a container with 3 to 63 lower-case letters, digits and single hyphens",
    ),
    "OutOfRangeInput": ("a value or a name is too long or too short", ""),
    "InvalidHeaderValue": ("the service does not accept a header of the request", _EMULATOR),
    "UnsupportedRequestVersion": ("the service does not support this API version", ""),
    # Objects that exist, do not exist, or are in a state that refuses the request.
    "PoolExists": ("the pool exists", _PLAN),
    "JobExists": ("the job exists", _PLAN),
    "JobScheduleExists": ("the job schedule exists", _PLAN),
    "JobWithSameIdExists": (
        "a job with this id exists, and the ids of jobs and job schedules must differ",
        "Use another id for the job schedule, or delete the job",
    ),
    "JobScheduleWithSameIdExists": (
        "a job schedule with this id exists, and the ids of jobs and job schedules must differ",
        "Use another id for the job, or delete the job schedule",
    ),
    "PoolBeingDeleted": ("the pool is being deleted", _LIST),
    "PoolBeingResized": (
        "the pool is being resized",
        "`batchspec list` shows the state of the pool; then run the command again",
    ),
    "PoolNotFound": ("the pool does not exist", "Run `batchspec plan` to see what is missing"),
    "JobNotFound": ("the job does not exist", "Run `batchspec plan` to see what is missing"),
    "TaskNotFound": ("the task does not exist", "Run `batchspec plan` to see what is missing"),
    "NodeNotFound": ("the node does not exist", "Run `batchspec status` to see the nodes"),
    "NodeBeingCreated": ("the node is being created", "Run `batchspec status` to see the nodes"),
    "NodeBeingStarted": ("the node is starting", "Run `batchspec status` to see the nodes"),
    "JobBeingDeleted": ("the job is being deleted", _LIST),
    "JobBeingTerminated": ("the job is being terminated and accepts no tasks", _AGAIN),
    "JobCompleted": (
        "the job is completed and accepts no tasks",
        "Run the command again: it plans a new job",
    ),
    "JobScheduleNotFound": (
        "the job schedule does not exist",
        "Run `batchspec plan` to see what is missing",
    ),
    "JobScheduleBeingDeleted": ("the job schedule is being deleted", _LIST),
    "JobScheduleBeingTerminated": (
        "the job schedule is being terminated",
        "Run the command again: it replaces the job schedule",
    ),
    "JobScheduleCompleted": (
        "the job schedule is completed",
        "Run the command again: it replaces the job schedule",
    ),
    "JobDisabled": ("the job is disabled", "Enable it: `az batch job enable --job-id ID`"),
    "ContainerBeingDeleted": ("the container is being deleted", _LIST),
    "ContainerNotFound": (
        "the container does not exist",
        "Run `batchspec plan` to see what is missing",
    ),
    "BlobNotFound": ("the blob does not exist", "Run `batchspec plan` to see what is missing"),
    "ConditionNotMet": ("another client changed the object in the meantime", _AGAIN),
    "LeaseIdMissing": (
        "another client has a lease on the object",
        "`az storage blob lease break` or `az storage container lease break` ends it",
    ),
    "Md5Mismatch": ("the data was damaged in transit", _AGAIN),
    # Settings of the Storage account and of single blobs.
    "PublicAccessNotPermitted": (
        "the Storage account does not allow public access",
        "Remove `public_access` from the container, or allow it: `az storage account update --name"
        " ACCOUNT --allow-blob-public-access true`",
    ),
    "BlobArchived": (
        "the blob is in the access tier Archive, and can neither be read nor replaced",
        "Move it to another tier, which takes up to 15 hours (`az storage blob set-tier --tier"
        " Hot`), or delete it; then run the command again",
    ),
    "BlobBeingRehydrated": (
        "the blob is being moved from the access tier Archive",
        "Run the command again when the blob is in the other tier, after up to 15 hours",
    ),
    "BlobImmutableDueToPolicy": (
        "an immutability policy or a legal hold forbids changes of the blob",
        "Use a container without the policy, or other names of blobs",
    ),
    "SnapshotsPresent": (
        "the blob has snapshots, and batchspec does not delete them",
        "Delete them: `az storage blob delete --delete-snapshots only`; then run the command again",
    ),
    "InvalidBlobType": (
        "a page blob or an append blob has this name",
        "Delete the blob, or use another name",
    ),
    "InvalidBlobOrBlock": (
        "another client has sent blocks of this blob without committing them",
        "Complete the upload with the other client, or upload any small file to this name; then run"
        " the command again",
    ),
    "SubscriptionRequestsThrottled": ("requests of the subscription are limited", _BUSY),
    "GatewayTimeout": ("the service did not answer Azure Resource Manager in time", _AGAIN),
}
"""Error code of the service → summary and fix. The summary follows the object and a colon."""

_OF_PROPERTY = {
    "InvalidPropertyValue": "the service does not accept the value{value} of `{name}`",
    "MissingRequiredProperty": "the required property `{name}` is missing",
    "UnsupportedProperty": "the service does not support `{name}` in this combination",
}
"""The summary of an error whose details name the property."""

_LONGEST_VALUE = 60
"""Characters of a value that a summary quotes."""

_BY_STATUS = {
    401: "AuthenticationFailed",
    403: "Forbidden",
    413: "RequestBodyTooLarge",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServerBusy",
}
"""The error code of a response without a code: HEAD has no body, and gateways send other pages."""

_KEY_REFUSED = re.compile(r"The specified type of authentication SharedKey is not allowed [^.]*\.")
"""In the details if the account, or an operation on pools, allows only Microsoft Entra ID."""

_CONFIDENTIAL = frozenset({"AuthenticationErrorDetail"})
"""Details that are not shown, because they quote the signature of the request."""


@frozen
class ErrorResponse:
    """An error of a service: its code, the HTTP status, message, details, and the request id."""

    code: str
    status: int
    message: str
    values: tuple[tuple[str, str], ...] = ()
    request_id: str = ""


def error_response(error: HttpResponseError) -> ErrorResponse:
    """Read an SDK error of Batch or of Storage."""
    status = error.status_code or 0
    body = error.error
    code = getattr(error, "error_code", None) or getattr(body, "code", None)
    code = str(getattr(code, "value", code) or "")
    headers = getattr(error.response, "headers", {}) or {}
    code = code or headers.get("x-ms-error-code", "") or _BY_STATUS.get(status, f"HTTP{status}")
    message = str(getattr(body, "message", None) or error.message or "")
    details = getattr(body, "details", None) or ()
    return ErrorResponse(
        code=code,
        status=status,
        message=_message(message),
        values=tuple((str(d.code), str(d.message)) for d in details),
        request_id=headers.get("request-id") or headers.get("x-ms-request-id") or "",
    )


def to_diagnostic(response: ErrorResponse, subject: str) -> Diagnostic:
    """The diagnostic of an error; ``subject`` is the object of the request (``pool topn``)."""
    summary, fix = TABLE.get(response.code, (response.message or response.code, ""))
    more = "" if summary == response.message else response.message
    detail = [f"{response.code}: {more}" if more and more != response.code else response.code]
    values = dict(response.values)
    name = _property_name(values)
    if found := _KEY_REFUSED.search(values.get("AuthenticationErrorDetail", "")):
        summary = "the Batch account does not allow account keys for this request"
        fix = "Unset AZURE_BATCH_ACCESS_KEY, and run `az login`"
        detail = [f"{response.code}: {found[0]}"]
    if response.status == 403 and response.code not in TABLE:
        fix = _ROLE
    if response.code == "Forbidden" and (reason := values.get("Reason", "").strip(" .")):
        summary, fix = f"the service denies the request: {reason}", _OWN_RESOURCES
    if response.code in ("AuthorizationFailed", "LinkedAuthorizationFailed"):
        fix = _missing_role(response.message) or fix
    if name and response.code in _OF_PROPERTY:
        value = _quoted(values.get("PropertyValue", ""))
        summary = _OF_PROPERTY[response.code].format(name=name, value=value)
    detail += [f"{key}: {value}" for key, value in response.values if key not in _CONFIDENTIAL]
    return Diagnostic(
        kebab(response.code),
        redact(f"{subject}: {summary}" if subject else summary),
        detail=redact("\n".join(detail)),
        fix=fix,
        request_id=response.request_id,
        property=name,
    )


_OTHER_NAMES = {
    "interNodeCommunication": "enableInterNodeCommunication",
    "formula": "autoScaleFormula",
    "evaluationInterval": "autoScaleEvaluationInterval",
    "applicationPackages": "applicationPackageReferences",
    "dynamicVnetAssignmentScope": "dynamicVNetAssignmentScope",
    "inboundNatPools": "inboundNATPools",
    "nodeAgentSkuId": "nodeAgentSKUId",
    "userName": "username",
    "deploymentConfiguration": "virtualMachineConfiguration",
}
"""Property of a pool at Resource Manager → name of the same property at the Batch service."""


def _property_name(values: Mapping[str, str]) -> str:
    """The name at the Batch service of the property that caused an error; empty if there is none.

    Resource Manager adds the path: ``properties.scaleSettings.autoScale.formula``.
    """
    last = re.sub(r"\[\d+\]", "", values.get("PropertyPath", "")).rpartition(".")[2]
    name = last or values.get("PropertyName", "")
    return _OTHER_NAMES.get(name, name)


_DENIED = re.compile(
    r"not have (?:authorization|permission) to perform action(?:\(s\))? '([^']+)'"
    r" (?:over scope|on the linked scope\(s\)) '([^']+)'"
)
_LINKED_ROLES = {
    "microsoft.managedidentity/": "Managed Identity Operator",
    "microsoft.network/": "Network Contributor",
    "microsoft.compute/": "Reader",
}
"""Start of an action on a resource of a pool → the role that allows it."""
_OBJECT = re.compile(r"object id '([^']+)'")
_ACCOUNT_SCOPE = re.compile(r"(?i)^.*?/batchAccounts/[^/]+")


def _missing_role(message: str) -> str:
    """The role that allows what Resource Manager refused; empty if the message does not name it."""
    found = _DENIED.search(message)
    if found is None:
        return ""
    action, scope, client = found[1], found[2], _OBJECT.search(message)
    identity = client[1] if client else "IDENTITY"
    account = _ACCOUNT_SCOPE.match(scope)
    name = action.lower()
    linked = [role for start, role in _LINKED_ROLES.items() if name.startswith(start)]
    if linked:
        role = linked[0]
    elif "/batchaccounts/pools/" in name or "/batchaccounts/applications/" in name:
        role = "Azure Batch Data Contributor"
    elif name.endswith("/read"):
        role = "Azure Batch Account Reader"
    else:
        role = "Azure Batch Account Contributor"
    return (
        f"Assign the role '{role}' to your identity: `az role assignment create --assignee"
        f' {identity} --role "{role}" --scope {account[0] if account else scope}`; a new assignment'
        " takes up to 10 minutes"
    )


def _quoted(value: str) -> str:
    """The value of a property for a summary; empty if the service does not quote the value."""
    shown = redact(value)
    if len(shown) > _LONGEST_VALUE:
        shown = f"{shown[: _LONGEST_VALUE - 3]}..."
    return f" {shown!r}" if shown else ""


def translate(error: AzureError, subject: str) -> ServiceError:
    """The ServiceError of an SDK error; ``subject`` is the object of the request."""
    if isinstance(error, HttpResponseError) and error.response is not None:
        response = error_response(error)
        return ServiceError(
            to_diagnostic(response, subject), code=response.code, status=response.status
        )
    if isinstance(error, ClientAuthenticationError):
        return no_credential(error)
    # The retry policy, which knows the address, translates errors without a response.
    problem = Diagnostic(
        "bad-answer",
        f"{subject}: the response of the service is not valid",
        detail=redact(_message(str(error))),
        fix=_AGAIN,
    )
    return ServiceError(problem, code="bad-answer")


def transition_timeout(error: ServiceError, waited: float) -> ServiceError:
    """The error of a request that was refused for ``waited`` seconds by the state of an object."""
    problem = error.problems[0]
    summary = f"{problem.summary}, after {waited / 60:.0f} min of waiting"
    return ServiceError(replace(problem, summary=summary), code=error.code, status=error.status)


def _login(cloud: str) -> str:
    """The command for the sign-in in a cloud with this name in the Azure CLI; empty: the default.

    The Azure CLI has one cloud at a time.
    """
    return f"`az cloud set --name {cloud} && az login`" if cloud else "`az login`"


def _attempts(message: str) -> str:
    """The message of a failed sign-in: one line for each credential that was tried.

    The message of azure-identity repeats the name of each credential, and has links between them.
    """
    _, found, attempts = message.strip().partition("Attempted credentials:")
    if not found:
        return message.strip()
    lines = ["Tried to sign in with:"]
    for line in attempts.splitlines():
        name, colon, reason = line.strip().partition(": ")
        if colon and line.startswith("\t"):
            reason = reason.removeprefix(f"{name} authentication unavailable. ")
            lines.append(f"  {name}: {reason}")
        elif line.strip() and not line.startswith(("Visit https://", "To mitigate this issue")):
            lines.append(f"    {line.strip()}")
    return "\n".join(lines)


def no_credential(error: ClientAuthenticationError, cloud: str = "") -> ServiceError:
    """The error if there is no key, and authentication with Microsoft Entra ID failed."""
    problem = Diagnostic(
        "no-credential",
        "there is no account key, and authentication with Microsoft Entra ID failed",
        detail=redact(_attempts(str(error.message or error))),
        fix=f"Run {_login(cloud)}, or set AZURE_BATCH_ACCESS_KEY and AZURE_STORAGE_KEY.",
    )
    return ServiceError(problem, code="no-credential")


def no_manager_credential(error: ClientAuthenticationError, cloud: str = "") -> ServiceError:
    """The error if authentication for Azure Resource Manager failed; it does not accept keys."""
    problem = Diagnostic(
        "no-credential",
        "Azure Resource Manager requires Microsoft Entra ID, and authentication with it failed",
        detail=redact(_attempts(str(error.message or error))),
        fix=f"Run {_login(cloud)}; the keys of the accounts are not valid for Azure Resource"
        " Manager.",
    )
    return ServiceError(problem, code="no-credential")


def unreachable(url: str, error: BaseException, waited: float) -> ServiceError:
    """The error of a service that did not answer for ``waited`` seconds."""
    parts = urlsplit(url)
    address = f"{parts.scheme}://{parts.netloc}"
    # aiohttp adds its own TLS settings to the message.
    reason = re.sub(r" ssl:\w+(?= \[)", "", _message(str(error)))
    problem = Diagnostic(
        "unreachable",
        f"{address} does not answer",
        detail=redact(f"no response for {waited:.0f} s: {reason}"),
        fix="Check that the service runs: `batchspec local status`. If it runs and does not answer,"
        " `batchspec local stop` ends it, and the next command starts it with its data."
        if is_loopback(address)
        else "Check the address and the network (firewall, proxy, VPN).",
    )
    return ServiceError(problem, code="unreachable")


@contextmanager
def translated(subject: str) -> Iterator[None]:
    """Raise every SDK error as a ServiceError about ``subject``.

    The SDK error is not the cause of the exception, because its text may quote signatures.
    """
    try:
        yield
    except AzureError as error:
        raise translate(error, subject) from None


def kebab(code: str) -> str:
    """An error code of the service in the form of diagnostics: ``pool-quota-reached``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", code).lower()


def _message(text: str) -> str:
    """A message without the request id and the time that the services append."""
    return re.split(r"\s*\n\s*(?:RequestId|Time|Code|ErrorCode)\s*:", text, maxsplit=1)[0].strip()
