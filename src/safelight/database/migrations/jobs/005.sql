CREATE TABLE job_inputs (
  job_id VARCHAR(40) NOT NULL,
  owner VARCHAR(200) NOT NULL,
  bytes BIGINT NOT NULL,
  PRIMARY KEY (job_id),
  FOREIGN KEY (job_id) REFERENCES jobs (id) ON DELETE CASCADE
);

CREATE INDEX ix_job_inputs_owner ON job_inputs (owner);

-- What a unit of cost is has changed for enlargements, scans and drawings from pictures.
DELETE FROM timings;
