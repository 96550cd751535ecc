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
