-- Whether not_before was said as a delay: that lasts as long as it was meant to, whatever is done to the wall clock.
ALTER TABLE dt_tasks ADD COLUMN delayed INTEGER;
CREATE INDEX dt_tasks_delayed ON dt_tasks (seq) WHERE delayed IS NOT NULL AND state IN ('blocked', 'scheduled');
