-- What each renewal changes, whatever the wall clock says, and for how many seconds a process may be silent.
ALTER TABLE dt_processes ADD COLUMN beats INTEGER NOT NULL DEFAULT 0;
ALTER TABLE dt_processes ADD COLUMN lease REAL;

-- Tasks whose attempts were lost with their process more than once: they run alone until one of them ends by itself,
-- so that what kills its process is told from what only ran beside it.
CREATE TABLE dt_suspects (
    seq   INTEGER PRIMARY KEY REFERENCES dt_tasks (seq) ON DELETE CASCADE,
    alone INTEGER NOT NULL DEFAULT 0      -- attempts lost while nothing else ran in the process
) STRICT;
