"""The state of the service in SQLite, and its only writer.

The API and the engine share only the store: the API writes the intent; the engine reads it, acts,
and writes the state. In and out: records (:mod:`batchspec.local.model`). Decisions, HTTP and
processes do not belong here.
"""

from batchspec.local.store.account import (
    NO_CERTIFICATE,
    THUMBPRINT_ALGORITHM,
    Application,
    ApplicationRecord,
    Applications,
    ApplicationVersion,
    application_id,
    is_application_id,
    is_package_version,
)
from batchspec.local.store.database import Page, is_corrupt, is_refused_by_disk, to_column
from batchspec.local.store.pools import SAMPLE_INTERVAL, autoscale_run
from batchspec.local.store.schema import DamagedStateError, NewerStateError
from batchspec.local.store.store import Store, add_job, job_deadline
from batchspec.local.store.tasks import NewTask
