-- Recent changes, which every server reads for its pages.
CREATE TABLE gallery_changes (
  number BIGSERIAL NOT NULL,
  owner TEXT,
  changed TEXT NOT NULL,
  deleted TEXT NOT NULL,
  collections BOOLEAN NOT NULL,
  created BIGINT NOT NULL,
  PRIMARY KEY (number)
);

CREATE INDEX ix_gallery_changes_created ON gallery_changes (created);
