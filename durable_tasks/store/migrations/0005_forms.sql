-- The form that the output of a manual task must fit: JSON Schema. It never changes.
ALTER TABLE dt_tasks ADD COLUMN form TEXT;
