-- Every object of ours is named dt_*; user_version and application_id belong to the application.
-- Times are unix seconds (REAL), durations seconds, JSON is text.
-- Checks use CASE: an IN list builds a temporary table each time a row is written (measured: a third of an insert).

CREATE TABLE dt_meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE dt_processes (
    instance    TEXT PRIMARY KEY,
    pid         INTEGER NOT NULL,
    host        TEXT NOT NULL,
    started_at  REAL NOT NULL,
    lease_until REAL NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE dt_workflows (
    seq             INTEGER PRIMARY KEY,
    id              TEXT NOT NULL UNIQUE,
    org_id          TEXT NOT NULL,
    space_id        TEXT NOT NULL,
    kind            TEXT NOT NULL CHECK (CASE kind WHEN 'pipeline' THEN 1 WHEN 'fan_out' THEN 1
                        WHEN 'dag' THEN 1 ELSE 0 END),
    name            TEXT NOT NULL,
    description     TEXT NOT NULL,
    state           TEXT NOT NULL CHECK (CASE state WHEN 'pending' THEN 1 WHEN 'running' THEN 1
                        WHEN 'completed' THEN 1 WHEN 'failed' THEN 1 WHEN 'cancelled' THEN 1 ELSE 0 END),
    metadata        TEXT NOT NULL,
    created_by      TEXT,
    required        INTEGER,              -- members that must complete; NULL: all of them
    max_parallel    INTEGER,
    failure_policy  TEXT NOT NULL CHECK (CASE failure_policy WHEN 'fail_fast' THEN 1
                        WHEN 'continue' THEN 1 ELSE 0 END),
    generation      INTEGER NOT NULL,
    version         INTEGER NOT NULL,
    total           INTEGER NOT NULL,
    active          INTEGER NOT NULL,     -- members released and not ended
    completed       INTEGER NOT NULL,
    failed          INTEGER NOT NULL,
    cancelled       INTEGER NOT NULL,
    error           TEXT,
    idempotency_key TEXT,
    created_at      REAL NOT NULL,
    updated_at      REAL NOT NULL,
    started_at      REAL,
    completed_at    REAL,
    CHECK (CASE state WHEN 'completed' THEN 1 WHEN 'failed' THEN 1
                        WHEN 'cancelled' THEN 1 ELSE 0 END = (completed_at IS NOT NULL))
) STRICT;

CREATE INDEX dt_workflows_list ON dt_workflows (org_id, state, seq);

CREATE TABLE dt_tasks (
    seq                   INTEGER PRIMARY KEY,
    id                    TEXT NOT NULL UNIQUE,
    org_id                TEXT NOT NULL,
    space_id              TEXT NOT NULL,
    title                 TEXT NOT NULL,
    name                  TEXT,
    description           TEXT NOT NULL,
    capability            TEXT,
    mode                  TEXT NOT NULL CHECK (CASE mode WHEN 'auto' THEN 1 WHEN 'manual' THEN 1 ELSE 0 END),
    placement             TEXT NOT NULL CHECK (CASE placement WHEN 'embedded' THEN 1 WHEN 'external' THEN 1
                        WHEN 'manual' THEN 1 ELSE 0 END),
    engine                TEXT NOT NULL CHECK (CASE engine WHEN 'local' THEN 1 WHEN 'temporal' THEN 1 ELSE 0 END),
    generation            INTEGER NOT NULL,
    state                 TEXT NOT NULL CHECK (CASE state WHEN 'blocked' THEN 1 WHEN 'scheduled' THEN 1
                        WHEN 'pending' THEN 1 WHEN 'claimed' THEN 1 WHEN 'running' THEN 1 WHEN 'waiting' THEN 1
                        WHEN 'paused' THEN 1 WHEN 'retrying' THEN 1 WHEN 'completed' THEN 1 WHEN 'failed' THEN 1
                        WHEN 'cancelled' THEN 1 ELSE 0 END),
    priority              INTEGER NOT NULL CHECK (priority BETWEEN 0 AND 3),
    queue                 TEXT,
    assigned_to           TEXT,           -- who holds it
    reserved_for          TEXT,           -- who alone may take it
    created_by            TEXT,
    workflow_id           TEXT REFERENCES dt_workflows (id),
    position              INTEGER,        -- place among the workflow's members
    parent_task_id        TEXT,
    correlation_id        TEXT,
    depends_on            TEXT NOT NULL,
    on_dependency_failure TEXT NOT NULL CHECK (CASE on_dependency_failure WHEN 'cancel' THEN 1 WHEN 'run' THEN 1
                        WHEN 'wait' THEN 1 ELSE 0 END),
    blocked_by            INTEGER NOT NULL CHECK (blocked_by >= 0),
    labels                TEXT NOT NULL,
    metadata              TEXT NOT NULL,
    max_retries           INTEGER NOT NULL,
    retry_count           INTEGER NOT NULL,
    lost_count            INTEGER NOT NULL,
    retry                 TEXT NOT NULL,
    timeout               REAL,
    not_before            REAL,
    deadline_at           REAL,
    wake_at               REAL,           -- when scheduled or retrying ends
    ready_at              REAL,           -- when it last became pending
    attempt               INTEGER NOT NULL,
    token                 TEXT,           -- of the current attempt, or of the one still stopping
    process               TEXT,           -- instance whose executor runs the current or stopping attempt
    lease_expires_at      REAL,
    lease                 REAL,           -- seconds that a heartbeat renews
    timeout_at            REAL,
    stop_by               REAL,           -- an ended attempt's executor is given up at this instant
    due_at                REAL,           -- the earliest of the instants above at which the clock has work
    version               INTEGER NOT NULL,
    idempotency_key       TEXT,
    error                 TEXT,
    reason                TEXT,
    progress              REAL NOT NULL,
    progress_message      TEXT,
    progress_event_at     REAL,
    created_at            REAL NOT NULL,
    updated_at            REAL NOT NULL,
    started_at            REAL,
    completed_at          REAL,
    archived_at           REAL,
    output                TEXT,
    input                 TEXT,           -- last: the largest, and the least read
    CHECK (CASE state WHEN 'completed' THEN 1 WHEN 'failed' THEN 1
                        WHEN 'cancelled' THEN 1 ELSE 0 END = (completed_at IS NOT NULL)),
    CHECK (token IS NOT NULL OR (state <> 'claimed' AND state <> 'running'))
) STRICT;

CREATE INDEX dt_tasks_list ON dt_tasks (org_id, state, priority DESC, seq);
-- Only ready rows are in the next four, in claim order: their cost does not grow with finished rows. Each index
-- costs a task two page writes in its life, so what names no capability is in one of them, not in three.
CREATE INDEX dt_tasks_claimable ON dt_tasks (org_id, space_id, reserved_for, priority DESC, seq)
    WHERE state = 'pending' AND stop_by IS NULL AND mode = 'manual' AND capability IS NULL;
CREATE INDEX dt_tasks_claimable_any ON dt_tasks (org_id, space_id, reserved_for, priority DESC, seq)
    WHERE state = 'pending' AND stop_by IS NULL AND mode = 'manual' AND capability IS NOT NULL;
CREATE INDEX dt_tasks_claimable_by ON dt_tasks (org_id, space_id, reserved_for, capability, priority DESC, seq)
    WHERE state = 'pending' AND stop_by IS NULL AND mode = 'manual' AND capability IS NOT NULL;
CREATE INDEX dt_tasks_beginnable ON dt_tasks (org_id, engine, capability, priority DESC, seq)
    WHERE state = 'pending' AND placement = 'embedded' AND stop_by IS NULL;
CREATE INDEX dt_tasks_due ON dt_tasks (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX dt_tasks_process ON dt_tasks (process) WHERE process IS NOT NULL;
CREATE INDEX dt_tasks_member ON dt_tasks (workflow_id, state, position) WHERE workflow_id IS NOT NULL;

CREATE TABLE dt_dependencies (
    parent TEXT NOT NULL,
    child  TEXT NOT NULL,
    met    INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (parent, child)
) STRICT, WITHOUT ROWID;

CREATE INDEX dt_dependencies_child ON dt_dependencies (child);

CREATE TABLE dt_attempts (
    task_id          TEXT NOT NULL REFERENCES dt_tasks (id),
    number           INTEGER NOT NULL,
    generation       INTEGER NOT NULL,
    state            TEXT NOT NULL CHECK (CASE state WHEN 'running' THEN 1 WHEN 'cancelling' THEN 1
                        WHEN 'completed' THEN 1 WHEN 'failed' THEN 1 WHEN 'cancelled' THEN 1 WHEN 'released' THEN 1
                        WHEN 'lost' THEN 1 ELSE 0 END),
    token            TEXT NOT NULL,
    agent_id         TEXT,
    request          TEXT,
    claimed_at       REAL NOT NULL,
    started_at       REAL,
    ended_at         REAL,
    lease_expires_at REAL,
    error            TEXT,
    answer_hash      TEXT,                -- of the content it ended with: the same again is a repeat
    PRIMARY KEY (task_id, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE dt_events (
    org_id      TEXT NOT NULL,
    seq         INTEGER NOT NULL,
    kind        TEXT NOT NULL,
    at          REAL NOT NULL,
    task_id     TEXT,
    workflow_id TEXT,
    data        TEXT NOT NULL,
    hash        TEXT NOT NULL,
    PRIMARY KEY (org_id, seq)
) STRICT, WITHOUT ROWID;

CREATE INDEX dt_events_task ON dt_events (task_id, seq) WHERE task_id IS NOT NULL;

CREATE TRIGGER dt_events_keep BEFORE UPDATE ON dt_events
BEGIN
    SELECT RAISE(ABORT, 'dt_events is append-only; an event cannot be changed');
END;

CREATE TABLE dt_idempotency (
    org_id     TEXT NOT NULL,
    operation  TEXT NOT NULL,
    key        TEXT NOT NULL,
    content    TEXT NOT NULL,             -- SHA-256 of the explicitly set fields
    subject_id TEXT NOT NULL,
    PRIMARY KEY (org_id, operation, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE dt_commands (
    task_id    TEXT NOT NULL,
    command_id TEXT NOT NULL,
    verb       TEXT NOT NULL,
    answer     TEXT NOT NULL,
    at         REAL NOT NULL,
    PRIMARY KEY (task_id, command_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE dt_submissions (
    subject_id  TEXT NOT NULL,            -- a task or a workflow
    generation  INTEGER NOT NULL,
    org_id      TEXT NOT NULL,
    placement   TEXT NOT NULL,
    namespace   TEXT NOT NULL,
    workflow_id TEXT NOT NULL,
    run_id      TEXT,
    state       TEXT NOT NULL CHECK (CASE state WHEN 'outbox' THEN 1 WHEN 'open' THEN 1
                        WHEN 'closed' THEN 1 ELSE 0 END),
    outcome     TEXT,                     -- how this generation ended in SQLite
    error       TEXT,
    created_at  REAL NOT NULL,
    updated_at  REAL NOT NULL,
    PRIMARY KEY (subject_id, generation)
) STRICT, WITHOUT ROWID;

CREATE INDEX dt_submissions_open ON dt_submissions (state, workflow_id) WHERE state <> 'closed';

CREATE INDEX dt_submissions_embedded ON dt_submissions (namespace) WHERE state = 'open' AND placement = 'embedded';

CREATE TABLE dt_outbox (
    id         INTEGER PRIMARY KEY,
    subject_id TEXT NOT NULL,
    generation INTEGER NOT NULL,
    kind       TEXT NOT NULL CHECK (CASE kind WHEN 'start' THEN 1 WHEN 'sync' THEN 1 WHEN 'cancel' THEN 1
                        WHEN 'terminate' THEN 1 ELSE 0 END),
    org_id     TEXT NOT NULL,
    priority   INTEGER NOT NULL,
    request_id TEXT NOT NULL,
    tries      INTEGER NOT NULL,
    due_at     REAL NOT NULL,
    error      TEXT,
    dead_at    REAL,                      -- refused for ever; kept for people to see
    created_at REAL NOT NULL,
    UNIQUE (subject_id, generation, kind)
) STRICT;

CREATE INDEX dt_outbox_starts ON dt_outbox (org_id, priority DESC, id) WHERE kind = 'start' AND dead_at IS NULL;
CREATE INDEX dt_outbox_commands ON dt_outbox (due_at, id) WHERE kind <> 'start' AND dead_at IS NULL;
CREATE INDEX dt_outbox_deferred ON dt_outbox (due_at) WHERE dead_at IS NULL AND tries > 0;
