-- An embedding means something only together with the classifier that made it.
CREATE TABLE entry_embeddings (
  number INTEGER NOT NULL,
  digest VARCHAR(64) NOT NULL,
  classifier TEXT,
  dimension INTEGER NOT NULL,
  vector BLOB NOT NULL,
  PRIMARY KEY (number, digest),
  FOREIGN KEY(number) REFERENCES entries (number) ON DELETE CASCADE
);

CREATE INDEX entry_embeddings_by_digest ON entry_embeddings (digest, number);

-- Nothing says which classifier made those that are there.
INSERT INTO entry_embeddings (number, digest, classifier, dimension, vector)
  SELECT number, 'unknown', NULL, length(embedding) / 4, embedding FROM entry_details WHERE embedding IS NOT NULL;

ALTER TABLE entry_details DROP COLUMN embedding;
