-- The entry whose picture an entry's was made from, and how; a deleted entry leaves none.
ALTER TABLE entries ADD COLUMN parent_id VARCHAR(22) REFERENCES entries (id) ON DELETE SET NULL;

ALTER TABLE entries ADD COLUMN relation VARCHAR(10);

CREATE INDEX entries_by_parent ON entries (parent_id);

CREATE TABLE collections (
  id VARCHAR(16) NOT NULL,
  owner TEXT NOT NULL,
  name VARCHAR(100) NOT NULL,
  created BIGINT NOT NULL,
  PRIMARY KEY (id),
  UNIQUE (owner, name)
);

CREATE TABLE collection_entries (
  collection_id VARCHAR(16) NOT NULL,
  number BIGINT NOT NULL,
  PRIMARY KEY (collection_id, number),
  FOREIGN KEY(collection_id) REFERENCES collections (id) ON DELETE CASCADE,
  FOREIGN KEY(number) REFERENCES entries (number) ON DELETE CASCADE
);

CREATE INDEX ix_collection_entries_number ON collection_entries (number);
