CREATE TABLE runtime_settings (
  name VARCHAR(100) NOT NULL,
  value TEXT NOT NULL,
  changed BIGINT NOT NULL,
  changed_by VARCHAR(200) NOT NULL,
  PRIMARY KEY (name)
);

CREATE TABLE preferences (
  owner VARCHAR(200) NOT NULL,
  value TEXT NOT NULL,
  changed BIGINT NOT NULL,
  PRIMARY KEY (owner)
);
