-- Organisations have namespaces of their own, groups are handed over as one, external workers execute tasks.

CREATE TABLE dt_orgs (
    namespace TEXT PRIMARY KEY,           -- belongs to one organisation for ever; one may have had several
    org_id    TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Whether an executor may begin a ready row at once (open), or the Temporal workflow that drives it asks first (asked).
-- Embedded members of a group are open once the group's own Temporal workflow runs.
ALTER TABLE dt_tasks ADD COLUMN lane TEXT NOT NULL DEFAULT 'open'
    CHECK (CASE lane WHEN 'open' THEN 1 WHEN 'asked' THEN 1 ELSE 0 END);
UPDATE dt_tasks SET lane = 'asked' WHERE engine = 'temporal';

DROP INDEX dt_tasks_beginnable;
CREATE INDEX dt_tasks_beginnable ON dt_tasks (org_id, lane, capability, priority DESC, seq)
    WHERE state = 'pending' AND placement = 'embedded' AND stop_by IS NULL;
-- What external workers have, or still have to let go.
CREATE INDEX dt_tasks_remote ON dt_tasks (id) WHERE placement = 'external' AND token IS NOT NULL;

DROP INDEX dt_submissions_embedded;
CREATE INDEX dt_submissions_busy ON dt_submissions (namespace, placement, state) WHERE state <> 'closed';

CREATE INDEX dt_outbox_dead ON dt_outbox (dead_at) WHERE dead_at IS NOT NULL;
