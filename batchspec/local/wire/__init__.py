"""The protocol of the Batch service: requests, replies, OData, Shared Key, errors, times.

In: headers, query strings and JSON as received. Out: validated values, and replies as the service
sends them. All functions are pure: the store, the HTTP library, clocks and the rules of single
resources do not belong here.
"""

from batchspec.local.wire.body import check_rules, parse_body
from batchspec.local.wire.fault import (
    FAULTS,
    Fault,
    bad_body,
    bad_property,
    bad_query,
    not_implemented,
)
from batchspec.local.wire.messages import (
    JSON_TYPES,
    MAX_RESULTS,
    Reply,
    Request,
    check_conditions,
    check_options,
    created_reply,
    empty_reply,
    fault_body,
    fault_reply,
    list_reply,
    resource_reply,
    stamped_message,
    version_headers,
    wants_metadata,
    without_secrets,
    write_body,
)
from batchspec.local.wire.models import (
    NEWEST_VERSION,
    OPERATIONS,
    VERSIONS,
    all_properties,
    check_version,
    in_versions,
    is_retiring,
    model_names,
    properties,
    write_model,
)
from batchspec.local.wire.odata import (
    Column,
    FieldType,
    QueryError,
    bind_fields,
    matches_filter,
    parse_filter,
    to_sql,
)
from batchspec.local.wire.shared_key import (
    MAX_SKEW,
    SignatureError,
    SignedRequest,
    check_signature,
    strings_to_sign,
)
from batchspec.local.wire.times import (
    UNLIMITED,
    add_duration,
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
