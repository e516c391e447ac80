"""The protocol of the Batch service: requests, replies, OData, Shared Key, errors, times.

In: headers, query strings and JSON as received. Out: validated values, and replies as the service
sends them. Pure: the store, the HTTP library, clocks and the rules of single resources do not
belong here.
"""

from batchspec.local.wire.body import parse_body
from batchspec.local.wire.fault import (
    FAULTS,
    Fault,
    bad_body,
    bad_property,
    bad_query,
    not_implemented,
)
from batchspec.local.wire.models import all_properties, model_names, properties, write_model
from batchspec.local.wire.odata import (
    Column,
    FieldType,
    QueryError,
    bind_fields,
    matches_filter,
    parse_filter,
    to_sql,
)
from batchspec.local.wire.reply import (
    JSON_TYPES,
    Reply,
    created_reply,
    empty_reply,
    fault_body,
    fault_reply,
    list_reply,
    resource_reply,
    version_headers,
    wants_metadata,
    without_secrets,
    write_body,
)
from batchspec.local.wire.request import (
    MAX_RESULTS,
    Request,
    check_conditions,
    check_options,
    select_properties,
)
from batchspec.local.wire.rules import check_rules
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
    first_run,
    next_run,
    read_duration,
    read_time,
    ticks_of,
    window_passed,
    write_duration,
    write_http_date,
    write_time,
)
from batchspec.local.wire.versions import (
    NEWEST_VERSION,
    OPERATIONS,
    VERSIONS,
    check_version,
    in_versions,
    is_retiring,
)

__all__ = [
    "FAULTS",
    "JSON_TYPES",
    "MAX_RESULTS",
    "MAX_SKEW",
    "NEWEST_VERSION",
    "OPERATIONS",
    "TICKS",
    "UNLIMITED",
    "VERSIONS",
    "Column",
    "Fault",
    "FieldType",
    "QueryError",
    "Reply",
    "Request",
    "SignatureError",
    "SignedRequest",
    "all_properties",
    "bad_body",
    "bad_property",
    "bad_query",
    "bind_fields",
    "check_conditions",
    "check_options",
    "check_rules",
    "check_signature",
    "check_version",
    "created_reply",
    "empty_reply",
    "etag_of",
    "fault_body",
    "fault_reply",
    "first_run",
    "in_versions",
    "is_retiring",
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
    "wants_metadata",
    "window_passed",
    "without_secrets",
    "write_body",
    "write_duration",
    "write_http_date",
    "write_model",
    "write_time",
]
