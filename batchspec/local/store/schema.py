"""The tables, and their migration from each version to the next. SQL that reads or writes rows does
not belong here.

Times are whole microseconds since 1970. ``key`` columns contain the lower-case form of an id, which
makes ids case-insensitive. JSON is stored as text. Triggers update the counters of tasks with each
write.
"""

# ruff: noqa: S608 - only names and conditions of this package are joined in; values are bound
from __future__ import annotations

import sqlite3

_VERSION_1 = """
CREATE TABLE pool (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    key TEXT NOT NULL UNIQUE,
    id TEXT NOT NULL,
    body TEXT NOT NULL,
    created INTEGER NOT NULL,
    modified INTEGER NOT NULL,
    state TEXT NOT NULL,
    state_since INTEGER NOT NULL,
    allocation TEXT NOT NULL,
    allocation_since INTEGER NOT NULL,
    target_dedicated INTEGER NOT NULL,
    target_spot INTEGER NOT NULL,
    resize INTEGER NOT NULL DEFAULT 1,
    resize_timeout TEXT NOT NULL,
    resize_errors TEXT NOT NULL DEFAULT '[]',
    deallocation TEXT NOT NULL DEFAULT 'requeue',
    autoscale TEXT,
    vm_size TEXT GENERATED ALWAYS AS (json_extract(body, '$.vmSize')) VIRTUAL
);

CREATE TABLE node (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    pool TEXT NOT NULL,
    pool_id TEXT NOT NULL,
    key TEXT NOT NULL,
    id TEXT NOT NULL,
    dedicated INTEGER NOT NULL,
    state TEXT NOT NULL,
    state_since INTEGER NOT NULL,
    scheduling TEXT NOT NULL DEFAULT 'enabled',
    allocated INTEGER NOT NULL,
    booted INTEGER,
    slots INTEGER NOT NULL,
    running_tasks INTEGER NOT NULL DEFAULT 0,
    running_slots INTEGER NOT NULL DEFAULT 0,
    total_run INTEGER NOT NULL DEFAULT 0,
    total_succeeded INTEGER NOT NULL DEFAULT 0,
    start_task_info TEXT,
    intent TEXT,
    intent_option TEXT,
    errors TEXT NOT NULL DEFAULT '[]',
    detail TEXT NOT NULL DEFAULT '{}',
    UNIQUE (pool, key)
);
CREATE INDEX node_by_state ON node (pool, state, dedicated);
CREATE INDEX node_by_intent ON node (intent) WHERE intent IS NOT NULL;

CREATE TABLE job (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    key TEXT NOT NULL UNIQUE,
    id TEXT NOT NULL,
    body TEXT NOT NULL,
    created INTEGER NOT NULL,
    modified INTEGER NOT NULL,
    state TEXT NOT NULL,
    state_since INTEGER NOT NULL,
    previous_state TEXT,
    previous_since INTEGER,
    pool TEXT NOT NULL,
    pool_id TEXT NOT NULL,
    priority INTEGER NOT NULL,
    max_parallel INTEGER NOT NULL,
    started INTEGER NOT NULL,
    ended INTEGER,
    deadline INTEGER,
    reason TEXT,
    scheduling_error TEXT,
    disable_tasks TEXT,
    schedule TEXT,
    schedule_id TEXT,
    on_all_complete TEXT GENERATED ALWAYS AS
        (json_extract(body, '$.onAllTasksComplete')) VIRTUAL
);
CREATE INDEX job_by_pool ON job (pool, state, priority DESC, seq);
CREATE INDEX job_by_state ON job (state);
CREATE INDEX job_by_deadline ON job (deadline) WHERE deadline IS NOT NULL;
CREATE INDEX job_by_schedule ON job (schedule, seq) WHERE schedule IS NOT NULL;

-- Counters of a job's tasks (n) and of their slots (s); kept by the triggers below.
CREATE TABLE tally (
    job TEXT PRIMARY KEY REFERENCES job (key) ON DELETE CASCADE,
    n_active INTEGER NOT NULL DEFAULT 0,
    n_running INTEGER NOT NULL DEFAULT 0,
    n_succeeded INTEGER NOT NULL DEFAULT 0,
    n_failed INTEGER NOT NULL DEFAULT 0,
    s_active INTEGER NOT NULL DEFAULT 0,
    s_running INTEGER NOT NULL DEFAULT 0,
    s_succeeded INTEGER NOT NULL DEFAULT 0,
    s_failed INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;

CREATE TABLE task (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    job TEXT NOT NULL,
    job_id TEXT NOT NULL,
    key TEXT NOT NULL,
    id TEXT NOT NULL,
    number INTEGER,
    body TEXT NOT NULL,
    created INTEGER NOT NULL,
    modified INTEGER NOT NULL,
    state TEXT NOT NULL DEFAULT 'active',
    state_since INTEGER NOT NULL,
    previous_state TEXT,
    previous_since INTEGER,
    slots INTEGER NOT NULL,
    waiting INTEGER NOT NULL DEFAULT 0,
    satisfied INTEGER NOT NULL DEFAULT 0,
    run INTEGER NOT NULL DEFAULT 0,
    retry_count INTEGER NOT NULL DEFAULT 0,
    requeue_count INTEGER NOT NULL DEFAULT 0,
    last_retry INTEGER,
    last_requeue INTEGER,
    pool TEXT,
    pool_id TEXT,
    node TEXT,
    node_id TEXT,
    directory TEXT,
    process TEXT,
    ending TEXT,
    started INTEGER,
    ended INTEGER,
    exit_code INTEGER,
    result TEXT,
    failure TEXT,
    retain_until INTEGER,
    cleaned INTEGER NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX task_by_key ON task (job, key);
CREATE INDEX task_runnable ON task (job, waiting, seq) WHERE state = 'active';
CREATE INDEX task_by_state ON task (job, state, key);
CREATE INDEX task_by_exit ON task (job, exit_code, key) WHERE exit_code IS NOT NULL;
CREATE INDEX task_by_node ON task (pool, node, started) WHERE node IS NOT NULL;
CREATE INDEX task_on_node ON task (job, state) WHERE state IN ('preparing', 'running');
CREATE INDEX task_ending ON task (ending) WHERE ending IS NOT NULL;
CREATE INDEX task_by_retention ON task (retain_until) WHERE retain_until IS NOT NULL;
CREATE INDEX task_by_number ON task (job, number) WHERE number IS NOT NULL;

-- What a task waits for: ids, and inclusive ranges of ids that are numbers.
CREATE TABLE dependency (
    task INTEGER NOT NULL REFERENCES task (seq) ON DELETE CASCADE,
    job TEXT NOT NULL,
    first INTEGER,
    last INTEGER,
    key TEXT
);
CREATE INDEX dependency_by_key ON dependency (job, key) WHERE key IS NOT NULL;
CREATE INDEX dependency_by_range ON dependency (job, first, last) WHERE first IS NOT NULL;
CREATE INDEX dependency_by_task ON dependency (task);

CREATE TABLE doomed (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    pool_id TEXT NOT NULL,
    node_id TEXT NOT NULL,
    directory TEXT NOT NULL,
    task_seq INTEGER NOT NULL,
    run INTEGER NOT NULL
);

CREATE TABLE schedule (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    key TEXT NOT NULL UNIQUE,
    id TEXT NOT NULL,
    body TEXT NOT NULL,
    created INTEGER NOT NULL,
    modified INTEGER NOT NULL,
    state TEXT NOT NULL,
    state_since INTEGER NOT NULL,
    previous_state TEXT,
    previous_since INTEGER,
    next_run INTEGER,
    recent_job TEXT,
    runs INTEGER NOT NULL DEFAULT 0,
    ended INTEGER
);
"""

_KINDS = (
    ("active", "{0}.state = 'active'"),
    ("running", "{0}.state IN ('preparing', 'running')"),
    ("succeeded", "{0}.state = 'completed' AND {0}.result IS NOT 'failure'"),
    ("failed", "{0}.state = 'completed' AND {0}.result IS 'failure'"),
)


def _counting(row: str, sign: str) -> list[str]:
    return [
        f"{unit}_{kind} = {unit}_{kind} {sign} ({condition.format(row)}){weight}"
        for kind, condition in _KINDS
        for unit, weight in (("n", ""), ("s", f" * {row}.slots"))
    ]


def _counters() -> str:
    """The triggers that update ``tally``."""
    added, gone = (
        f"UPDATE tally SET {', '.join(_counting(row, sign))} WHERE job = {row}.job;"
        for row, sign in (("NEW", "+"), ("OLD", "-"))
    )
    return f"""
    CREATE TRIGGER job_added AFTER INSERT ON job BEGIN
        INSERT INTO tally (job) VALUES (NEW.key);
    END;
    CREATE TRIGGER task_added AFTER INSERT ON task BEGIN {added} END;
    CREATE TRIGGER task_gone AFTER DELETE ON task BEGIN {gone} END;
    CREATE TRIGGER task_moved AFTER UPDATE OF state, result, slots ON task
    BEGIN {gone} {added} END;
    """


_VERSION_2 = """
CREATE TABLE preparation (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    job TEXT NOT NULL,
    job_id TEXT NOT NULL,
    pool TEXT NOT NULL,
    pool_id TEXT NOT NULL,
    node TEXT NOT NULL,
    node_id TEXT NOT NULL,
    state TEXT NOT NULL,
    info TEXT NOT NULL,
    release_state TEXT,
    release TEXT,
    UNIQUE (job, node, pool)
);
CREATE INDEX preparation_by_node ON preparation (pool, node);
CREATE INDEX preparation_running ON preparation (seq)
    WHERE state = 'running' OR release_state = 'running';
"""

_VERSION_3 = """
CREATE TABLE subtask (
    task INTEGER NOT NULL REFERENCES task (seq) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    pool TEXT NOT NULL,
    pool_id TEXT NOT NULL,
    node TEXT NOT NULL,
    node_id TEXT NOT NULL,
    directory TEXT NOT NULL,
    state TEXT NOT NULL,
    info TEXT NOT NULL,
    run INTEGER NOT NULL,
    PRIMARY KEY (task, number)
) WITHOUT ROWID;
CREATE INDEX subtask_by_node ON subtask (pool, node, state);
-- However a subtask goes: the engine ends what goes on of it and removes its files.
CREATE TRIGGER subtask_gone AFTER DELETE ON subtask BEGIN
    INSERT INTO doomed (pool_id, node_id, directory, task_seq, run)
    VALUES (OLD.pool_id, OLD.node_id, OLD.directory, OLD.task, OLD.run);
END;
"""

# Pools that scale by a formula, and their samples.
_VERSION_4 = """
CREATE TABLE scaling (
    pool TEXT PRIMARY KEY REFERENCES pool (key) ON DELETE CASCADE,
    since INTEGER NOT NULL,
    due INTEGER NOT NULL,
    sample_due INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE sample (
    pool TEXT NOT NULL REFERENCES scaling (pool) ON DELETE CASCADE,
    at INTEGER NOT NULL,
    metrics TEXT NOT NULL,
    PRIMARY KEY (pool, at)
) WITHOUT ROWID;
"""

# ``containerInfo`` of a task.
_VERSION_5 = "ALTER TABLE task ADD COLUMN container TEXT;"

# The pool and last due time of a schedule, and the job manager task that ends its job.
_VERSION_6 = """
ALTER TABLE schedule ADD COLUMN pool_id TEXT;
ALTER TABLE schedule ADD COLUMN last_due INTEGER;
CREATE INDEX schedule_by_state ON schedule (state, next_run);
ALTER TABLE job ADD COLUMN manager TEXT GENERATED ALWAYS AS (
    CASE WHEN json_extract(body, '$.jobManagerTask.killJobOnCompletion')
    THEN lower(json_extract(body, '$.jobManagerTask.id')) END
) VIRTUAL;
CREATE INDEX job_by_manager ON job (state, manager) WHERE manager IS NOT NULL;
"""

# Indexes of failed tasks, and of nodes in transition.
_VERSION_7 = """
CREATE INDEX task_by_result ON task (job, result, key) WHERE result IS NOT NULL;
CREATE INDEX node_on_its_way ON node (state);
"""

# Resource usage of a task's finished runs; see ``model.Usage``. Times are microseconds.
_VERSION_8 = """
ALTER TABLE task ADD COLUMN running_time INTEGER NOT NULL DEFAULT 0;
ALTER TABLE task ADD COLUMN user_time INTEGER NOT NULL DEFAULT 0;
ALTER TABLE task ADD COLUMN kernel_time INTEGER NOT NULL DEFAULT 0;
ALTER TABLE task ADD COLUMN bytes_read INTEGER NOT NULL DEFAULT 0;
ALTER TABLE task ADD COLUMN bytes_written INTEGER NOT NULL DEFAULT 0;
UPDATE task SET running_time = ended - started WHERE started IS NOT NULL AND ended IS NOT NULL;
"""

_VERSION_9 = "ALTER TABLE doomed RENAME TO pending_deletion;"

# Damaged records that were set aside; see :mod:`batchspec.local.store.damage`.
_VERSION_10 = """
CREATE TABLE damaged (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    source TEXT NOT NULL,
    name TEXT NOT NULL,
    reason TEXT NOT NULL,
    at INTEGER NOT NULL,
    record TEXT NOT NULL
);
"""

# Requests to upload the log of a node.
_VERSION_11 = """
CREATE TABLE log_upload (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    pool_id TEXT NOT NULL,
    node_id TEXT NOT NULL,
    container TEXT NOT NULL,
    blob TEXT NOT NULL,
    identity INTEGER NOT NULL
);
"""

# Read and write calls of a task's finished runs, and the core time of nodes that have left.
_VERSION_12 = """
ALTER TABLE task ADD COLUMN read_calls INTEGER NOT NULL DEFAULT 0;
ALTER TABLE task ADD COLUMN write_calls INTEGER NOT NULL DEFAULT 0;
ALTER TABLE pool ADD COLUMN node_time INTEGER NOT NULL DEFAULT 0;
"""

_VERSION_13 = """
CREATE TABLE certificate (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    thumbprint TEXT NOT NULL UNIQUE,
    public_data TEXT NOT NULL,
    state TEXT NOT NULL,
    state_since INTEGER NOT NULL,
    previous_state TEXT,
    previous_since INTEGER,
    error TEXT
);
"""

# Resources of pools; see ``model.Resources``. Times are microseconds.
_VERSION_14 = """
CREATE TABLE resources (
    pool TEXT PRIMARY KEY REFERENCES pool (key) ON DELETE CASCADE,
    since INTEGER NOT NULL,
    until INTEGER NOT NULL,
    measured INTEGER NOT NULL,
    busy INTEGER NOT NULL,
    ticks INTEGER NOT NULL,
    memory INTEGER NOT NULL,
    peak_memory INTEGER NOT NULL,
    disk INTEGER NOT NULL,
    peak_disk INTEGER NOT NULL,
    disk_reads INTEGER NOT NULL,
    disk_writes INTEGER NOT NULL,
    disk_read INTEGER NOT NULL,
    disk_written INTEGER NOT NULL,
    network_in INTEGER NOT NULL,
    network_out INTEGER NOT NULL
) WITHOUT ROWID;
"""

STEPS: tuple[str, ...] = (
    _VERSION_1 + _counters(),
    _VERSION_2,
    _VERSION_3,
    _VERSION_4,
    _VERSION_5,
    _VERSION_6,
    _VERSION_7,
    _VERSION_8,
    _VERSION_9,
    _VERSION_10,
    _VERSION_11,
    _VERSION_12,
    _VERSION_13,
    _VERSION_14,
)
"""The script of each version. To change the tables, append a script."""


class NewerStateError(Exception):
    """A newer version of the service has written the database."""


class DamagedStateError(Exception):
    """The database file is damaged or is not a database."""


def migrate(connection: sqlite3.Connection) -> None:
    """Migrate the database of ``connection`` to the newest version, each step in a transaction.

    Raises:
        NewerStateError: a newer version of the service has written the database.
        DamagedStateError: a step fails, since the tables do not match their version.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > len(STEPS):
        raise NewerStateError(
            f"the database has version {version}; this service reads up to {len(STEPS)}"
        )
    if version < 0:
        raise DamagedStateError(f"the database has version {version}")
    for number, script in enumerate(STEPS[version:], start=version + 1):
        try:
            connection.executescript(f"BEGIN; {script} PRAGMA user_version = {number}; COMMIT;")
        except sqlite3.OperationalError as error:
            if connection.in_transaction:
                connection.rollback()
            if error.sqlite_errorcode != sqlite3.SQLITE_ERROR:  # such as a full disk
                raise
            raise DamagedStateError(f"the step to version {number} failed: {error}") from error


def check_schema(connection: sqlite3.Connection) -> None:
    """Compare the stored definitions of a migrated database with the definitions of a new database.

    SQLite reads the definitions at each start without a check: a changed byte in a default value, a
    condition or a trigger causes no error.

    Raises:
        DamagedStateError: a definition is changed, missing or unknown.
    """
    new = sqlite3.connect(":memory:")
    try:
        migrate(new)
        stored, expected = _definitions(connection), _definitions(new)
    finally:
        new.close()
    for name in sorted(stored.keys() | expected.keys()):
        if stored.get(name) != expected.get(name):
            text = name.decode(errors="replace")
            raise DamagedStateError(f"the definition of {text} differs from this version")


def _definitions(connection: sqlite3.Connection) -> dict[bytes, bytes]:
    """The SQL of each table, index and trigger, without the quotes that SQLite adds to names."""
    # Read as bytes, since damaged text can be invalid UTF-8. Indexes of UNIQUE columns have no SQL.
    rows = connection.execute(
        "SELECT CAST(type || ' ' || name AS BLOB), "
        "CAST(tbl_name || ' ' || ifnull(sql, '') AS BLOB) FROM sqlite_master"
    )
    return {name: sql.replace(b'"', b"") for name, sql in rows.fetchall()}
