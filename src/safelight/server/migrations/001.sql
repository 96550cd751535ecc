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
