CREATE TABLE key_sessions (
  digest VARCHAR(64) NOT NULL,
  key_id VARCHAR(12) NOT NULL,
  opened FLOAT NOT NULL,
  expires FLOAT NOT NULL,
  PRIMARY KEY (digest),
  FOREIGN KEY(key_id) REFERENCES keys (id) ON DELETE CASCADE
);

CREATE INDEX ix_key_sessions_key_id ON key_sessions (key_id);
