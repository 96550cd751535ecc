-- Recent changes, which every server reads for its pages.
CREATE TABLE gallery_changes (
  number INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
  owner TEXT,
  changed TEXT NOT NULL,
  deleted TEXT NOT NULL,
  collections BOOLEAN NOT NULL,
  created BIGINT NOT NULL
);

CREATE INDEX ix_gallery_changes_created ON gallery_changes (created);
