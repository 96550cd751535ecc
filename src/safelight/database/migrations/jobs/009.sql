-- The gallery entry that a job's pictures are made from.
ALTER TABLE jobs ADD COLUMN parent VARCHAR(22);
