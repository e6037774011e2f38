-- Starts that wait for the same slots stand in one line, so that one without room holds up no other.
ALTER TABLE dt_outbox ADD COLUMN line TEXT NOT NULL DEFAULT '';
UPDATE dt_outbox SET line = '=' || COALESCE((SELECT capability FROM dt_tasks WHERE id = dt_outbox.subject_id), '')
    WHERE kind = 'start' AND EXISTS (SELECT 1 FROM dt_submissions AS s WHERE s.subject_id = dt_outbox.subject_id
        AND s.generation = dt_outbox.generation AND s.placement = 'embedded');
DROP INDEX dt_outbox_starts;
CREATE INDEX dt_outbox_starts ON dt_outbox (org_id, line, priority DESC, id) WHERE kind = 'start' AND dead_at IS NULL;

-- What external workers have of one group: there is little of that, and many groups.
CREATE INDEX dt_tasks_remote_members ON dt_tasks (workflow_id, position)
    WHERE placement = 'external' AND token IS NOT NULL AND workflow_id IS NOT NULL;
