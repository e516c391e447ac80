"""The error codes of the service: HTTP status and message of each code.

Status codes follow the REST reference, "Batch Status and Error Codes". Messages marked ``rec`` were
recorded from Azure Batch; the other messages are from the reference.
"""

from __future__ import annotations

from collections.abc import Mapping

FAULTS: Mapping[str, tuple[int, str]] = {
    # 304 and 412 share a code; the method of the request decides the status.
    "ConditionNotMet": (
        412,
        "The condition specified using HTTP conditional header(s) is not met.",  # rec
    ),
    "MissingRequiredProperty": (
        400,
        "A required property was not specified in the request body.",
    ),
    "EmptyMetadataKey": (400, "The key for one of the metadata key-value pairs is empty."),
    "UnsupportedProperty": (
        400,
        "One of the properties specified in the request body is not supported.",  # rec
    ),
    "InvalidHeaderValue": (
        400,
        "The value provided for one of the HTTP headers was not in the correct format.",
    ),
    "InvalidPropertyValue": (
        400,
        "The value provided for one of the properties in the request body is invalid.",  # rec
    ),
    "MissingRequiredQueryParameter": (
        400,
        "A required query parameter was not specified for this request.",
    ),
    "UnsupportedQueryParameter": (
        400,
        "One of the query parameters specified in the request URI is not supported.",
    ),
    "InvalidQueryParameterValue": (
        400,
        "Value for one of the query parameters specified in the request URI is invalid.",  # rec
    ),
    "InvalidUri": (400, "The requested URI does not represent any resource on the server."),
    "UnsupportedHttpVerb": (405, "The resource does not support the specified HTTP verb."),
    "InvalidRequestBody": (
        400,
        "The specified Request Body is not syntactically valid.",  # rec
    ),
    "InvalidAutoScalingSettings": (400, "The specified auto-scaling settings are not valid."),
    "AutoScalingFormulaSyntaxError": (
        400,
        "The specified auto-scaling formula has a syntax error.",
    ),
    "AutoScalingFormulaTooLong": (400, "The specified auto-scaling formula exceeds lengths limit."),
    "TaskDependencyListTooLong": (400, "The list of task dependencies is too long."),
    "PoolUsageMetricAPIRetired": (
        400,
        "Pool list usage metrics API was retired on 09/30/2024",  # rec
    ),
    "CloudServiceConfigurationRetired": (
        400,
        "CloudServiceConfiguration pools are retired as of 2/29/2024, and new pools of this "
        "type cannot be added",  # rec
    ),
    "AuthenticationFailed": (
        403,
        "Server failed to authenticate the request. Make sure the value of Authorization header "
        "is formed correctly including the signature.",  # rec
    ),
    "PoolNotFound": (404, "The specified pool does not exist."),  # rec
    "NodeNotFound": (404, "The specified node does not exist."),
    "JobNotFound": (404, "The specified job does not exist."),  # rec
    "JobScheduleNotFound": (404, "The specified job schedule does not exist."),  # rec
    "TaskNotFound": (404, "The specified task does not exist."),  # rec
    "FileNotFound": (404, "The specified file does not exist."),
    "NodeUserNotFound": (404, "The specified node user does not exist."),
    "CertificateNotFound": (404, "The specified certificate does not exist."),
    "CertificateStateActive": (409, "The specified certificate is in active state."),  # rec
    "CertificateBeingDeleted": (
        409,
        "The specified certificate has been marked for deletion and is being deleted.",  # rec
    ),
    "CertificateExists": (409, "The specified certificate already exists."),
    "InvalidCertificateReferences": (
        409,
        "One or more of the specified certificate references are invalid.",
    ),
    "ApplicationNotFound": (404, "The specified application does not exist."),
    "VMExtensionNotFound": (404, "The specified virtual machine extension does not exist."),
    "RequestBodyTooLarge": (413, "The size of the request body exceeds the maximum permitted."),
    "InvalidRange": (416, "The range specified is invalid for the current size of the resource."),
    "OperationNotValidOnNode": (409, "The specified operation is not valid on the node."),
    "OperationInvalidForCurrentState": (
        409,
        "The specified operation is not valid for the current state of the resource.",
    ),
    "PoolExists": (409, "The specified pool already exists."),  # rec
    "JobExists": (409, "The specified job already exists."),
    "JobWithSameIdExists": (
        409,
        "A job with the specified job schedule id exists. Job and job schedule cannot have the "
        "same id.",
    ),
    "JobScheduleWithSameIdExists": (
        409,
        "A job schedule with the specified job id exists. Job and job schedule cannot have the "
        "same id.",
    ),
    "PoolQuotaReached": (409, "The specified account has reached pool quota."),
    "ActiveJobAndScheduleQuotaReached": (
        409,
        "The specified account has reached active job and job schedule quota.",
    ),
    "JobScheduleExists": (409, "The specified job schedule already exists."),
    "TaskExists": (409, "The specified task already exists."),
    "NodeUserExists": (409, "The specified node user already exists."),
    "PoolBeingDeleted": (
        409,
        "The specified pool has been marked for deletion and is being reclaimed.",  # rec
    ),
    "PoolBeingResized": (409, "The specified pool is being resized."),
    "JobScheduleBeingTerminated": (409, "The specified job schedule is being terminated."),
    "JobScheduleBeingDeleted": (
        409,
        "The specified job schedule has been marked for deletion and is being garbage collected.",
    ),
    "JobScheduleCompleted": (409, "The specified job schedule is in completed state."),
    "JobBeingTerminated": (409, "The specified job is being terminated."),
    "JobBeingDeleted": (
        409,
        "The specified job has been marked for deletion and is being garbage collected.",
    ),
    "JobCompleted": (409, "The specified job is in a completed state."),
    "JobNotActive": (409, "The specified job is not in the active state."),
    "TaskCompleted": (409, "The specified task is already in completed state."),
    "TaskNotCompleted": (409, "The specified task is not in completed state."),
    "TaskSucceeded": (409, "The specified task was completed successfully."),
    "TaskFilesUnavailable": (
        409,
        "The files of the specified task are unavailable because the task has not run on a node.",
    ),
    "TaskFilesCleanedup": (409, "The files of the specified task are cleaned up."),
    "TaskIdSameAsJobPreparationTask": (
        409,
        "The task id cannot be same as the job preparation task id.",
    ),
    "TaskIdSameAsJobReleaseTask": (409, "The task id cannot be same as the job release task id."),
    "JobPreparationTaskOrReleaseTaskNotSpecified": (
        409,
        "The specified job does not have either job preparation task or job release task.",  # rec
    ),
    "NodeAlreadyInTargetSchedulingState": (
        409,
        "The specified node is already in the target scheduling state.",
    ),
    "NodeBeingCreated": (409, "The specified node is being created."),
    "NodeBeingStarted": (409, "The specified node is being started."),
    "NodeBeingRebooted": (409, "The specified node is being rebooted."),
    "NodeBeingReimaged": (409, "The specified node is being reimaged."),
    "NodeStateUnusable": (409, "The specified node is unusable."),
    "InvalidApplicationPackageReferences": (
        409,
        "One or more of the specified application package references are invalid.",  # rec
    ),
    # Not recorded; the status is documented in "Error handling and detection".
    "TooManyRequests": (429, "Too many requests were made. Please try again after some time."),
    "InternalError": (
        500,
        "Server encountered an internal error. Please try again after some time.",  # rec
    ),
    # Only this service returns this code: it names the operation or property not implemented.
    "NotImplemented": (501, "This service does not implement the request."),
    "ServerBusy": (503, "The server is busy."),  # rec
    "TooManyEnableAutoScaleRequests": (
        503,
        "Too many Enable Pool AutoScale requests are issued on the pool.",
    ),
}


class Fault(Exception):  # noqa: N818  the word of the protocol
    """An error reply: a code of :data:`FAULTS` and the ``key``/``value`` pairs of its body.

    ``status`` differs from the table only for a read with an unmet condition (304).
    """

    def __init__(self, code: str, *values: tuple[str, str], status: int | None = None) -> None:
        super().__init__(code)
        self.code = code
        self.status = FAULTS[code][0] if status is None else status
        self.sentence = FAULTS[code][1]
        self.values = values


def bad_property(name: str, value: str | None, reason: str) -> Fault:
    """``InvalidPropertyValue`` with the three values that the service returns."""
    values = [("PropertyName", name)]
    if value is not None:
        values.append(("PropertyValue", value))
    return Fault("InvalidPropertyValue", *values, ("Reason", reason))


def bad_query(name: str, value: str, reason: str) -> Fault:
    """``InvalidQueryParameterValue`` with the three values that the service returns."""
    return Fault(
        "InvalidQueryParameterValue",
        ("QueryParameterName", name),
        ("QueryParameterValue", value),
        ("Reason", reason),
    )


def bad_body(reason: str) -> Fault:
    """``InvalidRequestBody`` with its ``Reason``."""
    return Fault("InvalidRequestBody", ("Reason", reason))


def not_implemented(what: str) -> Fault:
    """``NotImplemented`` with the name of the missing operation or property."""
    return Fault("NotImplemented", ("Reason", f"{what} is not implemented by this service."))
