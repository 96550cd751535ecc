CREATE TABLE blobs (
  digest VARCHAR(64) NOT NULL,
  created BIGINT NOT NULL,
  data BLOB NOT NULL,
  PRIMARY KEY (digest)
);

CREATE INDEX ix_blobs_created ON blobs (created);
