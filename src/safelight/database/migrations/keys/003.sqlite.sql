-- Times are microseconds since 1970, as everywhere; they were seconds.
CREATE TABLE new_keys (
  id VARCHAR(12) NOT NULL,
  name VARCHAR(64) NOT NULL,
  active_name VARCHAR(64),
  digest VARCHAR(64) NOT NULL,
  role VARCHAR(20) NOT NULL,
  pictures_per_day INTEGER,
  megapixels_per_day FLOAT,
  created BIGINT NOT NULL,
  used BIGINT,
  revoked BIGINT,
  PRIMARY KEY (id),
  UNIQUE (active_name)
);

INSERT INTO new_keys
  SELECT id, name, active_name, digest, role, pictures_per_day, megapixels_per_day,
    CAST(round(created * 1000000) AS INTEGER),
    CAST(round(used * 1000000) AS INTEGER),
    CAST(round(revoked * 1000000) AS INTEGER)
  FROM keys;

DROP TABLE keys;

ALTER TABLE new_keys RENAME TO keys;

CREATE TABLE new_key_sessions (
  digest VARCHAR(64) NOT NULL,
  key_id VARCHAR(12) NOT NULL,
  opened BIGINT NOT NULL,
  expires BIGINT NOT NULL,
  PRIMARY KEY (digest),
  FOREIGN KEY(key_id) REFERENCES keys (id) ON DELETE CASCADE
);

INSERT INTO new_key_sessions
  SELECT digest, key_id, CAST(round(opened * 1000000) AS INTEGER), CAST(round(expires * 1000000) AS INTEGER)
  FROM key_sessions;

DROP TABLE key_sessions;

ALTER TABLE new_key_sessions RENAME TO key_sessions;

CREATE INDEX ix_key_sessions_key_id ON key_sessions (key_id);
