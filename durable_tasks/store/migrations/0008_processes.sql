-- What the handlers of a process are for: a JSON list, in which null stands for tasks without a capability. NULL: it runs
-- no handlers.
ALTER TABLE dt_processes ADD COLUMN handles TEXT;
