CREATE TABLE entry_words (number BIGINT PRIMARY KEY REFERENCES entries ON DELETE CASCADE, vector TSVECTOR NOT NULL);

CREATE INDEX entry_words_vector ON entry_words USING gin (vector) WITH (fastupdate = off);
