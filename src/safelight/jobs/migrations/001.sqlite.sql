CREATE TABLE jobs (
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
  created FLOAT NOT NULL,
  started FLOAT,
  ended FLOAT,
  expires FLOAT,
  attempt INTEGER NOT NULL,
  lost INTEGER NOT NULL,
  worker VARCHAR(200),
  lease FLOAT,
  signal VARCHAR(20),
  progress TEXT,
  result TEXT,
  error TEXT,
  PRIMARY KEY (id),
  UNIQUE (owner, idempotency_key)
);

CREATE INDEX jobs_by_owner ON jobs (owner, created);

CREATE INDEX jobs_by_owner_and_turn ON jobs (owner, state, turn);

CREATE INDEX jobs_by_turn ON jobs (state, priority DESC, turn, id);

CREATE INDEX jobs_by_expiry ON jobs (expires);

CREATE TABLE turn_clock (
  priority INTEGER NOT NULL,
  turn FLOAT NOT NULL,
  PRIMARY KEY (priority)
);

CREATE TABLE timings (
  "key" TEXT NOT NULL,
  seconds FLOAT NOT NULL,
  PRIMARY KEY ("key")
);

CREATE TABLE workers (
  name VARCHAR(200) NOT NULL,
  host VARCHAR(200) NOT NULL,
  pid INTEGER NOT NULL,
  device VARCHAR(50) NOT NULL,
  state VARCHAR(20) NOT NULL,
  checkpoints TEXT NOT NULL,
  memory FLOAT NOT NULL,
  started FLOAT NOT NULL,
  seen FLOAT NOT NULL,
  PRIMARY KEY (name)
);

CREATE TABLE job_blobs (
  job_id VARCHAR(40) NOT NULL,
  digest VARCHAR(64) NOT NULL,
  PRIMARY KEY (job_id, digest),
  FOREIGN KEY(job_id) REFERENCES jobs (id) ON DELETE CASCADE
);

CREATE INDEX ix_job_blobs_digest ON job_blobs (digest);

CREATE TABLE events (
  id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
  job_id VARCHAR(40) NOT NULL,
  kind VARCHAR(20) NOT NULL,
  data TEXT NOT NULL,
  created FLOAT NOT NULL,
  FOREIGN KEY(job_id) REFERENCES jobs (id) ON DELETE CASCADE
);

CREATE INDEX ix_events_job_id ON events (job_id);

CREATE TABLE previews (
  job_id VARCHAR(40) NOT NULL,
  number INTEGER NOT NULL,
  data BLOB NOT NULL,
  PRIMARY KEY (job_id),
  FOREIGN KEY(job_id) REFERENCES jobs (id) ON DELETE CASCADE
);
