-- Who did it: `proved:NAME` or `said:NAME`. NULL: the engine did, or somebody who gave no name, or an earlier release.
ALTER TABLE dt_events ADD COLUMN actor TEXT;
-- Who took it, beside the agent it was taken for.
ALTER TABLE dt_attempts ADD COLUMN actor TEXT;
-- An answer is given again to its caller (an actor as above), for the same content (a SHA-256) only. Both are NULL in
-- rows of earlier releases.
ALTER TABLE dt_commands ADD COLUMN caller TEXT;
ALTER TABLE dt_commands ADD COLUMN content TEXT;

CREATE TRIGGER dt_events_stay BEFORE DELETE ON dt_events
BEGIN
    SELECT RAISE(ABORT, 'dt_events is append-only; an event cannot be removed');
END;
