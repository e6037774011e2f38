-- What still follows from an end that was acknowledged: more rows than one transaction should move. Mostly empty.
-- A subject may have work of several kinds left; none takes the place of another.
CREATE TABLE dt_remainders (
    seq        INTEGER PRIMARY KEY,       -- the lowest is next; what is not done with goes behind the others
    subject_id TEXT NOT NULL,             -- a task or a workflow
    work       TEXT NOT NULL CHECK (CASE work WHEN 'dependants' THEN 1 WHEN 'cancel' THEN 1 WHEN 'reopen' THEN 1
                   WHEN 'advance' THEN 1 ELSE 0 END),
    after      TEXT NOT NULL,             -- how far it has come
    reason     TEXT,                      -- why members are cancelled
    actor      TEXT,                      -- who asked for it, as in dt_events. NULL: it follows from an end
    not_before REAL,                      -- when it is tried again, after it broke
    UNIQUE (subject_id, work)
) STRICT;
