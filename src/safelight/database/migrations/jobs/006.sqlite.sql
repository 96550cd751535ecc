-- Times are microseconds since 1970, as everywhere; they were seconds.
CREATE TABLE new_jobs (
  id VARCHAR(40) NOT NULL,
  owner VARCHAR(200) NOT NULL,
  kind VARCHAR(20) NOT NULL,
  state VARCHAR(20) NOT NULL,
  request TEXT NOT NULL,
  priority INTEGER NOT NULL,
  turn FLOAT NOT NULL,
  cost FLOAT NOT NULL,
  passed INTEGER NOT NULL,
  checkpoint TEXT NOT NULL,
  timeout FLOAT,
  idempotency_key VARCHAR(200),
  request_id VARCHAR(200) NOT NULL,
  created BIGINT NOT NULL,
  started BIGINT,
  ended BIGINT,
  expires BIGINT,
  attempt INTEGER NOT NULL,
  lost INTEGER NOT NULL,
  worker VARCHAR(200),
  lease BIGINT,
  signal VARCHAR(20),
  progress TEXT,
  result TEXT,
  error TEXT,
  summary TEXT,
  PRIMARY KEY (id),
  UNIQUE (owner, idempotency_key)
);

INSERT INTO new_jobs
  SELECT id, owner, kind, state, request, priority, turn, cost, passed, checkpoint, timeout, idempotency_key, request_id,
    CAST(round(created * 1000000) AS INTEGER),
    CAST(round(started * 1000000) AS INTEGER),
    CAST(round(ended * 1000000) AS INTEGER),
    CAST(round(expires * 1000000) AS INTEGER),
    attempt, lost, worker,
    CAST(round(lease * 1000000) AS INTEGER),
    signal, progress, result, error, summary
  FROM jobs;

DROP TABLE jobs;

ALTER TABLE new_jobs RENAME TO jobs;

CREATE INDEX jobs_by_owner ON jobs (owner, created);

CREATE INDEX jobs_by_owner_and_turn ON jobs (owner, state, turn);

CREATE INDEX jobs_by_turn ON jobs (state, priority DESC, turn, id);

CREATE INDEX jobs_by_expiry ON jobs (expires);

CREATE TABLE new_events (
  id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
  job_id VARCHAR(40) NOT NULL,
  kind VARCHAR(20) NOT NULL,
  data TEXT NOT NULL,
  created BIGINT NOT NULL,
  FOREIGN KEY(job_id) REFERENCES jobs (id) ON DELETE CASCADE
);

INSERT INTO new_events SELECT id, job_id, kind, data, CAST(round(created * 1000000) AS INTEGER) FROM events;

-- Ids go on from the last one that was given, though its event may be gone: clients ask for what came after it.
DELETE FROM sqlite_sequence WHERE name = 'new_events';

INSERT INTO sqlite_sequence (name, seq) SELECT 'new_events', seq FROM sqlite_sequence WHERE name = 'events';

DROP TABLE events;

ALTER TABLE new_events RENAME TO events;

CREATE INDEX ix_events_job_id ON events (job_id);

CREATE TABLE new_workers (
  name VARCHAR(200) NOT NULL,
  host VARCHAR(200) NOT NULL,
  pid INTEGER NOT NULL,
  device VARCHAR(50) NOT NULL,
  precision VARCHAR(20) DEFAULT '' NOT NULL,
  backend VARCHAR(20) DEFAULT '' NOT NULL,
  why TEXT DEFAULT '' NOT NULL,
  state VARCHAR(20) NOT NULL,
  loading TEXT,
  last_error TEXT DEFAULT 'null' NOT NULL,
  checkpoints TEXT NOT NULL,
  memory FLOAT NOT NULL,
  started BIGINT NOT NULL,
  seen BIGINT NOT NULL,
  PRIMARY KEY (name)
);

INSERT INTO new_workers
  SELECT name, host, pid, device, precision, backend, why, state, loading, last_error, checkpoints, memory,
    CAST(round(started * 1000000) AS INTEGER), CAST(round(seen * 1000000) AS INTEGER)
  FROM workers;

DROP TABLE workers;

ALTER TABLE new_workers RENAME TO workers;
