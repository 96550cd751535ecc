ALTER TABLE workers ADD COLUMN memory_report TEXT NOT NULL DEFAULT 'null';
