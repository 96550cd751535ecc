CREATE TABLE queue_state (
  number INTEGER NOT NULL,
  paused BIGINT,
  paused_by VARCHAR(200) NOT NULL,
  changes INTEGER NOT NULL,
  clears INTEGER NOT NULL,
  PRIMARY KEY (number)
);

INSERT INTO queue_state (number, paused, paused_by, changes, clears) VALUES (1, NULL, '', 0, 0);

ALTER TABLE jobs ADD COLUMN cleared BIGINT;
