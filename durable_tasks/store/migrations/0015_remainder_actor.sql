-- Who asked for it, as in dt_events. NULL: it follows from an end, which is nobody's act.
ALTER TABLE dt_remainders ADD COLUMN actor TEXT;
