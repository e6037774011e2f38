-- What people wait for, and a task's children, in the order of lists. Neither state nor holder is in them: a task is
-- written there when it begins and, of the first, when it ends.

CREATE INDEX dt_tasks_inbox ON dt_tasks (org_id, priority DESC, seq) WHERE mode = 'manual' AND completed_at IS NULL;
CREATE INDEX dt_tasks_children ON dt_tasks (parent_task_id, priority DESC, seq) WHERE parent_task_id IS NOT NULL;
