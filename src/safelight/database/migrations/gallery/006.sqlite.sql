-- The LoRAs and textual inversions with which pictures were made, by the SHA-256 of their files.
CREATE TABLE entry_adapters (
  digest VARCHAR(64) NOT NULL,
  number INTEGER NOT NULL,
  PRIMARY KEY (digest, number),
  FOREIGN KEY(number) REFERENCES entries (number) ON DELETE CASCADE
);

CREATE INDEX ix_entry_adapters_number ON entry_adapters (number);
