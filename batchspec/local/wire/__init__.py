"""The protocol of the Batch service: requests, replies, OData, Shared Key, errors, times.

In: headers, query strings and JSON as received. Out: validated values, and replies as the service
sends them. Pure: the store, the HTTP library, clocks and the rules of single resources do not
belong here.
"""

from batchspec.local.wire.body import OLDER_PROPERTIES, model_names, parse_body, properties
from batchspec.local.wire.fault import (
    FAULTS,
    Fault,
    bad_body,
    bad_property,
    bad_query,
    not_implemented,
)
from batchspec.local.wire.odata import (
    FieldType,
    QueryError,
    bind_fields,
    matches_filter,
    parse_filter,
)
from batchspec.local.wire.odata_sql import Column, to_sql
from batchspec.local.wire.recurrence import first_run, next_run, window_passed
from batchspec.local.wire.reply import (
    JSON_TYPE,
    Reply,
    created_reply,
    empty_reply,
    fault_body,
    fault_reply,
    list_reply,
    resource_reply,
    version_headers,
    without_secrets,
    write_body,
)
from batchspec.local.wire.request import (
    MAX_RESULTS,
    NEWEST_VERSION,
    OLDER_VERSIONS,
    Request,
    check_conditions,
    check_version,
    select_properties,
)
from batchspec.local.wire.shared_key import (
    MAX_SKEW,
    SignatureError,
    SignedRequest,
    check_signature,
    strings_to_sign,
)
from batchspec.local.wire.times import (
    TICKS,
    UNLIMITED,
    etag_of,
    read_duration,
    read_time,
    ticks_of,
    write_duration,
    write_http_date,
    write_time,
)

__all__ = [
    "FAULTS",
    "JSON_TYPE",
    "MAX_RESULTS",
    "MAX_SKEW",
    "NEWEST_VERSION",
    "OLDER_PROPERTIES",
    "OLDER_VERSIONS",
    "TICKS",
    "UNLIMITED",
    "Column",
    "Fault",
    "FieldType",
    "QueryError",
    "Reply",
    "Request",
    "SignatureError",
    "SignedRequest",
    "bad_body",
    "bad_property",
    "bad_query",
    "bind_fields",
    "check_conditions",
    "check_signature",
    "check_version",
    "created_reply",
    "empty_reply",
    "etag_of",
    "fault_body",
    "fault_reply",
    "first_run",
    "list_reply",
    "matches_filter",
    "model_names",
    "next_run",
    "not_implemented",
    "parse_body",
    "parse_filter",
    "properties",
    "read_duration",
    "read_time",
    "resource_reply",
    "select_properties",
    "strings_to_sign",
    "ticks_of",
    "to_sql",
    "version_headers",
    "window_passed",
    "without_secrets",
    "write_body",
    "write_duration",
    "write_http_date",
    "write_time",
]
