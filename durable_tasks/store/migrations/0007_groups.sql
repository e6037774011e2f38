-- The groups of whom an API token stands for.
ALTER TABLE dt_tokens ADD COLUMN groups TEXT NOT NULL DEFAULT '[]';
