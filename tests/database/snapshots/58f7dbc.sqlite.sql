-- The database as commit 58f7dbc made it, before migrations were files. It stays as it is.

CREATE TABLE schema_versions (
  part VARCHAR(40) NOT NULL,
  version INTEGER NOT NULL,
  PRIMARY KEY (part)
);

CREATE TABLE blobs (
  digest VARCHAR(64) NOT NULL,
  created BIGINT NOT NULL,
  data BLOB NOT NULL,
  PRIMARY KEY (digest)
);

CREATE INDEX ix_blobs_created ON blobs (created);

CREATE TABLE entries (
  number INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
  id VARCHAR(22) NOT NULL,
  job_id TEXT,
  "index" INTEGER NOT NULL,
  owner TEXT,
  created BIGINT NOT NULL,
  width INTEGER NOT NULL,
  height INTEGER NOT NULL,
  decision VARCHAR(10) NOT NULL,
  unsafe FLOAT,
  mode TEXT,
  seed BIGINT,
  steps INTEGER,
  sampler TEXT,
  checkpoint TEXT,
  family TEXT,
  kind VARCHAR(10),
  size BIGINT NOT NULL,
  sha256 VARCHAR(64),
  missing BOOLEAN NOT NULL,
  favourite BOOLEAN NOT NULL,
  UNIQUE (job_id, "index"),
  UNIQUE (id)
);

CREATE UNIQUE INDEX entries_by_key ON entries (substr(id, 10));

CREATE INDEX entries_by_owner ON entries (owner, number);

CREATE INDEX ix_entries_created ON entries (created);

CREATE INDEX ix_entries_seed ON entries (seed);

CREATE TABLE entry_details (
  number INTEGER NOT NULL,
  prompt TEXT NOT NULL,
  negative_prompt TEXT NOT NULL,
  infotext TEXT,
  record TEXT,
  checkpoint_digest TEXT,
  policy TEXT,
  scores TEXT NOT NULL,
  embedding BLOB,
  PRIMARY KEY (number),
  FOREIGN KEY(number) REFERENCES entries (number) ON DELETE CASCADE
);

CREATE TABLE entry_tags (
  tag VARCHAR(64) NOT NULL,
  number INTEGER NOT NULL,
  PRIMARY KEY (tag, number),
  FOREIGN KEY(number) REFERENCES entries (number) ON DELETE CASCADE
);

CREATE INDEX ix_entry_tags_number ON entry_tags (number);

CREATE VIRTUAL TABLE entry_words USING fts5(prompt, negative, rest, tokenize='ascii', prefix='1 2 3');

CREATE TRIGGER entry_words_follow AFTER DELETE ON entries BEGIN DELETE FROM entry_words WHERE rowid = old.number; END;

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

CREATE TABLE workers (
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
  started FLOAT NOT NULL,
  seen FLOAT NOT NULL,
  PRIMARY KEY (name)
);

CREATE TABLE memory_orders (
  number INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
  checkpoint TEXT NOT NULL,
  load BOOLEAN NOT NULL
);

CREATE TABLE keys (
  id VARCHAR(12) NOT NULL,
  name VARCHAR(64) NOT NULL,
  active_name VARCHAR(64),
  digest VARCHAR(64) NOT NULL,
  role VARCHAR(20) NOT NULL,
  pictures_per_day INTEGER,
  megapixels_per_day FLOAT,
  created FLOAT NOT NULL,
  used FLOAT,
  revoked FLOAT,
  PRIMARY KEY (id),
  UNIQUE (active_name)
);

CREATE TABLE key_usage (
  key_id VARCHAR(12) NOT NULL,
  day INTEGER NOT NULL,
  pictures BIGINT NOT NULL,
  pixels BIGINT NOT NULL,
  PRIMARY KEY (key_id, day),
  FOREIGN KEY(key_id) REFERENCES keys (id) ON DELETE CASCADE
);

CREATE TABLE key_sessions (
  digest VARCHAR(64) NOT NULL,
  key_id VARCHAR(12) NOT NULL,
  opened FLOAT NOT NULL,
  expires FLOAT NOT NULL,
  PRIMARY KEY (digest),
  FOREIGN KEY(key_id) REFERENCES keys (id) ON DELETE CASCADE
);

CREATE INDEX ix_key_sessions_key_id ON key_sessions (key_id);

INSERT INTO schema_versions VALUES ('blobs', 1), ('gallery', 2), ('jobs', 3), ('keys', 2);

INSERT INTO blobs VALUES ('aa', 1, 'data');

INSERT INTO jobs (id, owner, kind, state, request, priority, turn, cost, passed, checkpoint, request_id, created,
  attempt, lost) VALUES ('j1', 'anna', 'generate', 'queued', '{"prompt": "a red apple"}', 0, 1.5, 1, 0, 'starter', 'r',
  1795957063.6905794, 0, 0);

INSERT INTO jobs (id, owner, kind, state, request, priority, turn, cost, passed, checkpoint, request_id, created,
  attempt, lost) VALUES ('j2', 'anna', 'scan', 'queued', '{"images": [{"blob": "aa"}, {"blob": "aa"}, {"blob": "aa"}]}',
  0, 2.5, 1, 0, '', 'r', 1795957064.25, 0, 0);

INSERT INTO jobs (id, owner, kind, state, request, priority, turn, cost, passed, checkpoint, timeout, idempotency_key,
  request_id, created, started, ended, expires, attempt, lost, worker, lease, progress, result)
  VALUES ('j3', 'anna', 'upscale', 'succeeded', '{}', 0, 3.5, 1, 0, '', 60.5, 'key', 'r', 1795957065.5, 1795957066.5,
  1795957067.5, 1796561867.5, 1, 0, 'w', 1795957080.5, '{"stage": "upscaling"}', '{"pictures": []}');

INSERT INTO job_blobs VALUES ('j2', 'aa');

INSERT INTO events (job_id, kind, data, created) VALUES ('j1', 'state', '{}', 1795957063.6905794);

INSERT INTO previews VALUES ('j1', 1, 'data');

INSERT INTO turn_clock VALUES (0, 1.5);

INSERT INTO entries (id, job_id, "index", owner, created, width, height, decision, size, missing, favourite)
  VALUES ('0000000000000000000abc', 'j3', 0, 'anna', 1795957065500000, 64, 64, 'allow', 3, false, true);

INSERT INTO entry_details (number, prompt, negative_prompt, scores, embedding)
  VALUES (1, 'a red apple', '', '{}', 'eightlong bytes!');

INSERT INTO entry_tags VALUES ('fruit', 1);

INSERT INTO keys (id, name, digest, role, created) VALUES ('k', 'anna', 'd', 'user', 1795957060.125);

INSERT INTO key_usage VALUES ('k', 20000, 3, 4000);

INSERT INTO key_sessions VALUES ('s', 'k', 1795957061.5, 1798549061.5);

INSERT INTO entry_words (rowid, prompt, negative, rest) VALUES (1, 'a red apple', '', '');

INSERT INTO timings VALUES ('generate starter', 0.25);

INSERT INTO workers (name, host, pid, device, state, checkpoints, memory, started, seen)
  VALUES ('here:cpu:0', 'here', 1234, 'cpu', 'idle', '["starter"]', 1250000000.0, 1795957060.5, 1795957070.25);

INSERT INTO memory_orders (checkpoint, load) VALUES ('starter', true);
